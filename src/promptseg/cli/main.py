"""`promptseg VERB ...`: finds the verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from promptseg._version import __version__
from promptseg.errors import (
    InterruptedRunError,
    PromptsegError,
    did_you_mean,
    interruption_behind,
)
from promptseg.names import for_terminal

__all__ = ["VERBS", "main"]

VERBS: dict[str, str] = {
    "segment": "an image and prompts -> a mask on the image's own grid",
    "plan": "what a long list will take: time, memory, storage, node hours",
    "convert": "masks from one format into another: NIfTI, NRRD, DICOM SEG, RTSTRUCT, ...",
    "curate": "public data -> training data: slices, rules, splits by patient; its catalogue",
    "train": "fine-tune a model on curated data, with a check before and a report after",
    "loop": "annotate a few images, train, let the model propose, correct, train again",
    "evaluate": "how good models, or masks that are there already, are on labelled data",
    "report": "tables, plots and one HTML page from the rows of an evaluation",
    "embed": "encode images ahead of time, so that prompting them is quick",
    "export": "a model as ONNX or OpenVINO files that run without torch",
    "serve": "a page, nnInteractive's clients and programs work on images with loaded models",
    "mcp": "programs that plan (MCP clients) look at images, segment, correct, measure, convert",
    "info": "what was understood of an image",
    "models": "the models, the prompts they take and what they are bad at",
    "assets": "weights and samples: what is here, fetch, verify, remove",
    "benchmark": "how quick the engines are on this machine, and what was chosen",
    "timing": "how long annotation takes, by hand and with a model's help",
    "demo": "fetch a real CT, segment it and show where the results are",
    "schema": "what a verb's --json looks like, as JSON Schema",
    "completion": "a script with which a shell completes verbs and options",
}

_OLD_VERBS = {"study": "timing"}
"""Former name of a verb, which goes on working -> its name."""

_GO_ON = ("curate", "evaluate", "train")
"""Verbs that the same command takes up where they were cut off, whatever they do; others say when they
can be (`InterruptedRunError`)."""

_USAGE = """usage: promptseg VERB [options]      promptseg VERB --help

To begin:
  promptseg demo -o demo                     a real CT, segmented; fetches weights and images once
  promptseg info scan.nii.gz --preview scan.png     your image, ticked as --box counts
  promptseg segment -i scan.nii.gz -o liver.nii.gz --box 98,190,272,372@10=liver
  promptseg serve --root scans/              the same with a mouse, in a browser

Verbs:
{verbs}

Exit codes: 0 done, 2 bad input, 1 a fault of ours, 130 interrupted.
promptseg {version}. Research software, not a medical device."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows the program's name; `sys.argv` if not given.

    Returns:
        The exit code: 0 done, 2 bad input, 1 a fault of ours, 130 interrupted.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if argv[:1] == ["--version"]:
        print(__version__)
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    verb = _OLD_VERBS.get(argv[0], argv[0])
    if verb not in VERBS:
        close = did_you_mean(verb, VERBS)
        advice = f"; {close}" if close else ""
        listed = ", ".join(VERBS)
        print(f"error: expected a verb out of {listed}, got {verb!r}{advice}", file=sys.stderr)
        return 2
    _log_to_stderr()
    if arguments is None:  # a process of our own
        _name_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # names a console cannot show are no reason to fail
            stream.reconfigure(errors="replace")
    try:
        code: int = import_module(f"promptseg.cli.{verb}").run(_joined_values(argv[1:]))
        return code
    except PromptsegError as error:
        if "--json" in argv:
            print(json.dumps({"error": error.to_json()}, indent=2))
        print(f"error: {for_terminal(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        return _interrupted(stop, verb, argv)
    except BrokenPipeError as error:
        if _is_read(sys.stdout):  # a process or a machine that this one talks to has gone
            return _fault(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:  # the option parser: 0 after --help, 2 for wrong options
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        if (behind := interruption_behind(error)) is not None:
            return _interrupted(behind, verb, argv)
        return _fault(error)


def _interrupted(stop: KeyboardInterrupt, verb: str, argv: Sequence[str]) -> int:
    """Say that a run was interrupted, and whether it can go on; returns the exit code."""
    goes_on = verb in _GO_ON and "--overwrite" not in argv
    goes_on = goes_on or isinstance(stop, InterruptedRunError)
    more = "; the same command goes on from here" if goes_on else ""
    print(f"interrupted{more}", file=sys.stderr)
    return 130


def _fault(error: Exception) -> int:
    """Say what nobody has foreseen; returns the exit code."""
    if os.environ.get("PROMPTSEG_DEBUG"):
        raise error
    with suppress(BrokenPipeError):  # nobody reads it
        print(
            f"fault: {type(error).__name__}: {for_terminal(str(error))}\n"
            "This is a fault of promptseg. Please report it with the output of the same command "
            "under PROMPTSEG_DEBUG=1.",
            file=sys.stderr,
        )
    return 1


def _is_read(stream: TextIO) -> bool:
    """Tell whether somebody may read what is written: a pipe whose reader has ended has nobody."""
    try:
        stream.flush()
        if sys.platform != "win32":  # where the stream keeps nothing that could be flushed
            poll = select.poll()
            poll.register(stream, 0)  # errors are told unasked
            return not any(event & select.POLLERR for _, event in poll.poll(0))
    except BrokenPipeError:
        return False
    except (OSError, ValueError):  # no file behind it
        pass
    return True


def usage() -> str:
    """Return the general help: all verbs, and how to go on."""
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return _USAGE.format(verbs=lines, version=__version__)


def _joined_values(argv: list[str]) -> list[str]:
    """`--point -3,4,+` -> `--point=-3,4,+`: a value may start with a minus sign."""
    out: list[str] = []
    for token in argv:
        option = out[-1] if out else ""
        numeric = len(token) > 1 and token[0] == "-" and (token[1].isdigit() or token[1] == ".")
        if numeric and option.startswith("--") and "=" not in option:
            out[-1] = f"{option}={token}"
        else:
            out.append(token)
    return out


class _Notes(logging.Handler):
    """Log records as plain lines on standard error; those of libraries say whose they are."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        library = "" if record.name == "promptseg" else f"{record.name.partition('.')[0]}: "
        text = " ".join(record.getMessage().split()) if library else record.getMessage()
        print(f"note: {library}{for_terminal(text)}", file=sys.stderr)


def _log_to_stderr() -> None:
    logger = logging.getLogger("promptseg")
    logger.handlers = [_Notes()]
    logger.propagate = False


def _name_libraries() -> None:
    """What libraries warn of looks like our notes: no places of this machine, no lines of source."""
    logging.lastResort = _Notes(logging.WARNING)
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *_: object, **__: object
) -> None:
    library = filename.replace("\\", "/").rpartition("/site-packages/")[2].partition("/")[0]
    print(f"note: {library or 'python'}: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
