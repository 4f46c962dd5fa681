"""`promptseg train`."""

from __future__ import annotations

import json

from promptseg.cli.options import parse
from promptseg.names import for_terminal
from promptseg.train.options import TrainOptions
from promptseg.train.recipes import recipe_file

__all__ = ["run"]


def run(argv: list[str]) -> int:
    """Run the verb, or `merge` or `words`, which is then the first word; returns the exit code."""
    if argv[:1] == ["merge"]:
        from promptseg.cli.merge import run as merge

        return merge(argv[1:])
    if argv[:1] == ["words"]:
        from promptseg.cli.teach import run as teach

        return teach(argv[1:])
    if argv and not argv[0].startswith("-"):
        argv = ["--config", str(recipe_file(argv[0])), *argv[1:]]
    options = parse(TrainOptions, "train", argv, replaces=True)
    from promptseg.jobs.train import train
    from promptseg.train.stopping import terminating_as_interrupt

    with terminating_as_interrupt():
        trained = train(options)
    if trained.interrupted:
        return 130
    if trained.seeds:
        if not options.quiet:
            for line in trained.seeds:
                print(for_terminal(line))
            print(f"seeds    {trained.folder / 'seeds.md'}")
        return 0
    if trained.verdict is None:  # of a process that follows another
        return 0
    if options.json:
        print(json.dumps(trained.verdict.to_json(), indent=2))
    elif not options.quiet:
        for line in (f"{trained.verdict.outcome}:", *trained.verdict.reasons):
            print(for_terminal(line))
        print(f"report   {trained.folder / 'report.md'}")
        print(f"weights  {trained.folder / 'model.safetensors'} ({trained.name})")
    return 0
