"""Lists in help and error texts come from the tables: what is added there is offered everywhere."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest

from promptseg.cli.main import main
from promptseg.errors import InputError, OutputError
from promptseg.evaluate.options import EvaluateJob
from promptseg.evaluate.report.quantities import QUANTITIES
from promptseg.evaluate.rows import COLUMNS, Row, read_rows, write_rows
from promptseg.formats import FORMATS, endings, format_for_output
from promptseg.formats.options import ReadOptions
from promptseg.image import MODALITIES, Image
from promptseg.intensity import WINDOWS
from promptseg.metrics import METRICS
from promptseg.models.cards import CARDS
from promptseg.prompts.kinds import KINDS
from promptseg.runtime import ENGINES, choose_device
from promptseg.runtime.choose import candidates
from promptseg.runtime.engines import engine_named
from promptseg.simulate.first import STARTS


def help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([verb, "--help"]) == 0
    return capsys.readouterr().out


def test_segment_offers_all_engines_endings_modalities_and_windows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_of("segment", capsys)
    for word in (*ENGINES, *endings(), *WINDOWS, *set(MODALITIES) - {"unknown"}):
        assert word in text, word


def test_convert_offers_all_endings(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("convert", capsys)
    assert all(ending in text for ending in endings())


def test_evaluate_offers_what_models_take_and_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("evaluate", capsys)
    said = text.partition("--prompt ")[2].partition("--start-model")[0]
    assert said.startswith("box|jittered-box|point|mask|text\n")
    assert {start.kind for start in STARTS.values()} == set(KINDS)
    assert set().union(*(card.prompts for card in CARDS.values())) == set(KINDS)
    with pytest.raises(InputError, match="prompts out of box"):
        EvaluateJob(input=Path(), output=Path(), prompt=("box", "words"), model=("x",)).check()  # type: ignore[arg-type]


def test_every_engine_of_the_table_can_be_made() -> None:
    for name in ENGINES:
        assert engine_named(name).name == name
    assert set(candidates(choose_device("cpu"))) <= set(ENGINES)


def test_every_format_has_its_modules_and_options() -> None:
    fields = {f.name for f in dataclasses.fields(ReadOptions)}
    for entry in FORMATS:
        assert entry.choices <= fields
        assert callable(entry.load().read)
        assert not entry.writes or callable(entry.load_writer().write)
        assert not entry.layers or entry.writes


def test_the_error_about_an_output_lists_what_can_be_written() -> None:
    import numpy as np

    image = Image.from_array(np.zeros((3, 4, 5), np.int16))
    with pytest.raises(OutputError) as error:
        format_for_output(Path("x.png"), image)
    assert all(ending in error.value.expected for ending in endings("volume"))


def _row() -> Row:
    return Row(
        *("model", "data", "CT", "volume", "3d", "box", "case", "patient", "liver", "liver"),
        *(None, None, 0, "", 0.9, 0.8, 0.85, 1.5, 0.4, -0.1, 0.95, 10, 12, 0.5),
    )


def test_rows_written_before_a_metric_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows([_row()], path)
    assert read_rows(path) == [_row()]
    with path.open(newline="", encoding="utf-8") as stream:
        (line,) = csv.DictReader(stream)
    for new in ("asd", "trained_on"):
        del line[new]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, line)
        writer.writeheader()
        writer.writerow(line)
    (found,) = read_rows(path)
    assert math.isnan(found.asd)
    assert found._replace(asd=_row().asd) == _row()
    for wrong, said in (("case", "no case"), ("mood", "mood")):
        other = (
            {k: v for k, v in line.items() if k != wrong} if wrong in line else {**line, wrong: ""}
        )
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, other).writeheader()
        with pytest.raises(InputError, match=said):
            read_rows(path)


def test_every_metric_is_in_rows_and_reports() -> None:
    assert set(METRICS) == set(QUANTITIES)
    assert set(METRICS) <= set(COLUMNS)
