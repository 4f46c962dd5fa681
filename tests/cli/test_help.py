"""The help of every verb: complete, readable, and true."""

from __future__ import annotations

import dataclasses
import re
import shlex
from itertools import pairwise

import pytest

from promptseg.cli import options
from promptseg.cli.examples import EXAMPLES
from promptseg.cli.help import help_of
from promptseg.cli.kinds import KINDS, kind_of
from promptseg.cli.main import VERBS, main


@pytest.mark.parametrize("verb", KINDS)
def test_every_option_is_there_with_what_it_does(verb: str) -> None:
    text = help_of(kind_of(verb), verb)
    for field in dataclasses.fields(kind_of(verb)):
        name = field.name.replace("_", "-")
        flag = rf"^  (-\w [^,]+, |--[\w-]+ [^,]+, )?--(no-)?{name}\b"
        spelt = rf"{flag}|^  {name.upper()}\b|^  \w+(\|\w+)+( |$)"
        assert re.search(spelt, text, re.MULTILINE), name
    lines = text.splitlines()
    for line, below in pairwise(lines):
        if line.startswith("  -"):  # what it does stands beside it or below
            assert "  " in line.strip() or below.startswith(" " * 26), line


@pytest.mark.parametrize("verb", KINDS)
def test_help_is_narrow_and_has_no_words_of_python(verb: str) -> None:
    text = help_of(kind_of(verb), verb)
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"\{None\}|\bNone\b|default: \(\)|UseAppend|default: False", text)


def test_input_and_output_come_first() -> None:
    lines = help_of(kind_of("segment"), "segment").splitlines()
    assert lines[0] == "usage: promptseg segment -i PATH -o PATH [options]"
    for verb in KINDS:
        lines = help_of(kind_of(verb), verb).splitlines()
        first = [line.split()[0] for line in lines if line.startswith("  -")]
        named = [flag for flag in ("-i", "-o") if flag in first]
        assert first[: len(named)] == named, verb


def test_every_verb_ends_with_two_examples() -> None:
    for verb in KINDS:
        examples = help_of(kind_of(verb), verb).partition("\nexamples:\n")[2].splitlines()
        assert len(examples) >= 4, verb  # each with a line that says what it is for
        assert all(line.startswith("  # ") for line in examples[::2]), verb
        assert all(line.startswith(f"  promptseg {verb}") for line in examples[1::2]), verb


def test_a_switch_says_what_it_does_when_it_is_given() -> None:
    text = help_of(kind_of("segment"), "segment")
    assert re.search(r"--no-overlay +Write no overlay picture\.", text)


def test_every_verb_has_examples_that_can_be_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_require_input", lambda _: None)
    assert set(EXAMPLES) <= set(KINDS)
    assert set(VERBS) <= {verb.split()[0] for verb in KINDS}
    for verb, examples in EXAMPLES.items():
        for command in examples.values():
            words = shlex.split(command)
            if verb == "train" and not words[0].startswith("-"):
                words = words[1:]  # a recipe, read before the options are
            assert options.parse(kind_of(verb), verb, words, replaces=verb == "train")


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_asked_for_on_the_command_line(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: promptseg {verb}")
    assert printed.err == ""
