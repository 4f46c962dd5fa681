"""What verbs print with `--json`, against the schemas that `promptseg schema` prints."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema

from promptseg.cli.schemas import schema_for

__all__ = ["answer"]


@cache
def _validator(verb: str) -> Any:
    schema = schema_for(verb)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def answer(verb: str, printed: str) -> Any:
    """What a verb printed, which has to be as its schema says.

    Args:
        verb: with its second word where it has one.
        printed: all of standard output.
    """
    said = json.loads(printed)
    errors = list(_validator(verb).iter_errors(said))
    assert not errors, jsonschema.exceptions.best_match(errors).message[:600]
    return said
