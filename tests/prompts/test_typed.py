"""What users type as prompts: one table for `segment`, its preview and its replay."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from promptseg.jobs.preview import PreviewOptions
from promptseg.jobs.segment import command_of
from promptseg.prompts import PARSERS, Box, Box3D, Points, typed_prompts
from promptseg.segment.options import SegmentJob


def test_every_kind_is_an_option_of_both_verbs() -> None:
    for kind in (SegmentJob, PreviewOptions):
        assert set(PARSERS) <= {f.name for f in fields(kind)}


def test_all_that_is_typed_is_read_in_order() -> None:
    job = SegmentJob(
        input=Path("a"),
        output=Path("b"),
        box=("1,2,3,4@5=x", "2,2,3,4"),
        box3d=("1,2,3,4,5,6",),
        point=("7,8,-",),
    )
    assert [type(p) for p in typed_prompts(job)] == [Box, Box, Box3D, Points]


def test_a_replay_types_none_of_them_again() -> None:
    """They are in the provenance, which is a prompt file."""
    job = SegmentJob(input=Path("a"), output=Path("b"), **dict.fromkeys(PARSERS, ("x",)))
    assert not set(PARSERS) & set(command_of(job))
