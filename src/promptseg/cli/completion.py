"""`promptseg completion`: a script that lets a shell complete verbs, options and their values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import tyro

from promptseg.cli.help import Option, options_of
from promptseg.cli.kinds import KINDS, kind_of
from promptseg.cli.main import VERBS
from promptseg.cli.options import parse

__all__ = ["CompletionCommand", "run", "script_for"]

Shell = Literal["bash", "zsh", "fish"]


@dataclass(kw_only=True)
class CompletionCommand:
    """Print a script with which a shell completes verbs, options and their values.

    bash: promptseg completion bash > ~/.local/share/bash-completion/completions/promptseg. zsh: put
    eval "$(promptseg completion zsh)" into ~/.zshrc, after compinit. fish: promptseg completion fish >
    ~/.config/fish/completions/promptseg.fish. The script is of this version: print it again after an
    update.
    """

    shell: tyro.conf.Positional[Shell]
    """bash, zsh or fish."""


def run(argv: list[str]) -> int:
    """Print the script; returns the exit code."""
    print(script_for(parse(CompletionCommand, "completion", argv).shell), end="")
    return 0


class _Verb(NamedTuple):
    """A verb as a shell completes it."""

    name: str
    options: list[Option]


def script_for(shell: Shell) -> str:
    """Return the completion script of a shell.

    Args:
        shell: "bash", "zsh" (the same through its own bashcompinit) or "fish".
    """
    verbs = [_Verb(name, options_of(kind_of(name), name)) for name in KINDS]
    if shell == "fish":
        return "\n".join(_fish(verbs)) + "\n"
    begin = ["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []
    return "\n".join([*begin, *_bash(verbs)]) + "\n"


def _words(verb: _Verb) -> list[str]:
    """What may follow a verb without a dash: its second words, and values of its positionals."""
    seconds = [name.split()[1] for name in KINDS if name.startswith(f"{verb.name} ")]
    return [*seconds, *(v for o in verb.options if o.positional for v in _values(o))]


def _values(option: Option) -> tuple[str, ...]:
    """The values of an option that are known: choices, models, engines."""
    if option.choices:
        return option.choices
    if option.name == "model":
        from promptseg.models.cards import CARDS

        return tuple(CARDS)
    if option.name == "engine":
        from promptseg.runtime.names import AUTO, ENGINES

        return AUTO, *ENGINES
    return ()


def _bash(verbs: list[_Verb]) -> Iterator[str]:
    yield "_promptseg() {"
    yield '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '  local verb="${COMP_WORDS[1]}" options="" words=""'
    yield "  COMPREPLY=()"
    yield "  if [ $COMP_CWORD -eq 1 ]; then"
    listed = shlex.quote(" ".join([*VERBS, "--help", "--version"]))
    yield f'    COMPREPLY=($(compgen -W {listed} -- "$cur"))'
    yield "    return"
    yield "  fi"
    yield '  case "$verb ${COMP_WORDS[2]}" in'
    for name in (v.name for v in verbs if " " in v.name):
        yield f'    "{name}") [ $COMP_CWORD -gt 2 ] && verb="{name}" ;;'
    yield "  esac"
    yield '  case "$verb $prev" in'
    for verb in verbs:
        for option in verb.options:
            if values := _values(option):
                listed = " ".join(values)
                flags = " | ".join(f'"{verb.name} {flag}"' for flag in option.flags)
                if flags:
                    yield f'    {flags}) COMPREPLY=($(compgen -W "{listed}" -- "$cur")); return ;;'
    yield "  esac"
    yield '  case "$verb" in'
    for verb in verbs:
        flags = " ".join(flag for o in verb.options for flag in o.flags)
        yield f'    "{verb.name}") options="{flags} --help"; words="{" ".join(_words(verb))}" ;;'
    yield "  esac"
    yield '  case "$cur" in'
    yield '    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;'
    yield '    *) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;  # else files'
    yield "  esac"
    yield "}"
    yield "complete -o default -F _promptseg promptseg"


def _fish(verbs: list[_Verb]) -> Iterator[str]:
    for name, what in VERBS.items():
        yield (
            f"complete -c promptseg -n __fish_use_subcommand -f -a {name} -d {shlex.quote(what)}"
        )
    for verb in verbs:
        first, _, second = verb.name.partition(" ")
        when = f"__fish_seen_subcommand_from {first}"
        when += f"; and __fish_seen_subcommand_from {second}" if second else ""
        begin = f"complete -c promptseg -n {shlex.quote(when)}"
        if words := _words(verb):
            yield f"{begin} -a {shlex.quote(' '.join(words))}"
        for option in verb.options:
            if not option.flags:
                continue
            flags = " ".join(_fish_flag(flag) for flag in option.flags)
            said = shlex.quote(re.split(r"[.;:] ", option.said + " ")[0].rstrip(".").strip()[:80])
            values = _values(option)
            takes = f" -x -a {shlex.quote(' '.join(values))}" if values else " -r" * option.takes
            yield f"{begin} {flags}{takes} -d {said}"


def _fish_flag(flag: str) -> str:
    return f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
