"""`promptseg schema`: every `--json` has a schema, which says what is there and refuses what is not.

That answers are as their schemas say is tested where each verb is run (`json_answers.answer`).
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from json_answers import answer
from promptseg.cli.json_schema import attributes_of, schema_of
from promptseg.cli.kinds import KINDS, kind_of
from promptseg.cli.main import main
from promptseg.cli.schemas import ANSWERS, schema_for
from promptseg.errors import InputError
from promptseg.jobs.info import Facts
from promptseg.provenance import InputFacts, ObjectFacts, Provenance

CATALOGUE = {"curate list", "curate show"}  # verbs that another parser takes


def test_every_verb_with_json_has_a_schema_and_no_other() -> None:
    with_json = {v for v in KINDS if "json" in {f.name for f in dataclasses.fields(kind_of(v))}}
    assert with_json | CATALOGUE == set(ANSWERS)


@pytest.mark.parametrize("verb", ANSWERS)
def test_the_command_prints_a_valid_schema(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *verb.split()]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(json.dumps(schema_for(verb)))
    failure = {"error": InputError("a", "b").to_json()}
    answer(verb, json.dumps(failure))
    wrong: list[Any] = [{"error": "a"}, 3, "a", [3]]
    for one in wrong:
        assert not jsonschema.Draft202012Validator(schema).is_valid(one), one


def test_without_a_verb_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out.splitlines() == list(ANSWERS)
    assert main(["schema", "segmnt"]) == 2
    assert "did you mean segment?" in capsys.readouterr().err
    assert main(["schema", "demo"]) == 2


def test_what_is_not_known_is_left_out_or_null_as_the_record_says() -> None:
    check = jsonschema.Draft202012Validator(schema_of(Provenance)).is_valid
    whole = Provenance(
        notice="a", input=InputFacts(shape=(1, 2)), objects=(ObjectFacts(label=1, name="b"),)
    ).to_json()
    assert check(whole)
    assert check({**whole, "of a later version": 1})
    for field, value in (("notice", 3), ("input", {}), ("objects", [{"label": "1"}]), ("notes", 1)):
        assert not check({**whole, field: value}), field


def test_every_field_of_info_is_described_once() -> None:
    schema = schema_of(Facts)
    names = {f.name for f in dataclasses.fields(Facts)}
    assert set(schema["properties"]) == set(schema["required"]) == names
    assert {name for name, one in schema["properties"].items() if one.get("description")} == names
    assert attributes_of(Facts)["unit"] == '"mm" or "pixel".'


@pytest.mark.parametrize("kind", [bytes, complex, dict[str, bytes]])
def test_what_json_has_nothing_for_is_a_fault_of_ours(kind: Any) -> None:
    with pytest.raises(TypeError, match="nothing in JSON"):
        schema_of(kind)


def test_the_page_names_them_all() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z ]+)` \|", text, re.M) == list(ANSWERS)
