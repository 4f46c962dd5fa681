"""JSON Schema (2020-12) out of the types that answers are made of: fields, types, docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from promptseg.provenance.record import Record

__all__ = [
    "Schema",
    "attributes_of",
    "listed",
    "named",
    "nullable",
    "record",
    "schema_of",
    "texts_by_name",
]

Schema = dict[str, Any]

_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    Path: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}
_ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.M)


def schema_of(kind: Any) -> Schema:
    """Return the JSON Schema of what `dataclasses.asdict` or `Record.to_json` makes of a type.

    Args:
        kind: a dataclass, a record, or any annotation that their fields have.

    Raises:
        TypeError: an annotation that JSON has nothing for.
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one) for one in inner]}
    if origin is tuple and inner[-1:] != (Ellipsis,):
        return {"type": "array", "prefixItems": [schema_of(i) for i in inner], "items": False}
    if origin in (list, tuple, set, frozenset, Sequence, Collection):
        return {"type": "array", "items": schema_of(inner[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if kind in (dict, Mapping):
        return {"type": "object"}
    if kind in (list, tuple):
        return {"type": "array"}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _of_record(kind) if issubclass(kind, Record) else _of_dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, str):
        return {"type": "string"}
    raise TypeError(f"nothing in JSON for {kind!r}")


def attributes_of(kind: type[Any]) -> dict[str, str]:
    """Return what the docstring of a class says of each field, under `Attributes`."""
    said: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        text = one.__dict__.get("__doc__") or ""
        _, found, rest = inspect.cleandoc(text).partition("Attributes:\n")
        for names, meaning in _ATTRIBUTE.findall(rest) if found else ():
            said |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return said


def named(kind: type[Any]) -> Schema:
    """Return the schema of what `_asdict` makes of a named tuple."""
    hints, said = get_type_hints(kind), attributes_of(kind)
    fields: tuple[str, ...] = kind._fields
    properties = {n: _described(schema_of(hints[n]), said.get(n, "")) for n in fields}
    return record(properties, title=kind.__name__)


def record(
    required: Mapping[str, Schema],
    optional: Mapping[str, Schema] | None = None,
    *,
    title: str = "",
    more: bool = False,
) -> Schema:
    """Return the schema of an object with these fields; others are allowed if `more`."""
    found: Schema = {"title": title} if title else {}
    return {
        **found,
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": more,
    }


def listed(one: Schema) -> Schema:
    """Return the schema of an array of such values."""
    return {"type": "array", "items": one}


def nullable(one: Schema) -> Schema:
    """Return the schema of such a value or null."""
    return {"anyOf": [one, {"type": "null"}]}


def texts_by_name(one: Schema | None = None) -> Schema:
    """Return the schema of an object of any names with values of one kind; texts by default."""
    return {"type": "object", "additionalProperties": one or {"type": "string"}}


def _of_dataclass(kind: type[Any]) -> Schema:
    hints, said = get_type_hints(kind), attributes_of(kind)
    properties = {
        f.name: _described(schema_of(hints[f.name]), said.get(f.name, ""))
        for f in dataclasses.fields(kind)
    }
    return record(properties, title=kind.__name__)


def _of_record(kind: type[Record]) -> Schema:
    """Facts that are not known are left out, but for those that are null then."""
    hints, said = get_type_hints(kind), attributes_of(kind)
    properties: dict[str, Schema] = {}
    for one in dataclasses.fields(kind):
        if one.name == "more":
            continue
        inner = [i for i in get_args(hints[one.name]) if i is not type(None)]
        schema = schema_of(inner[0] if len(inner) == 1 else hints[one.name])
        if one.name in kind.null_fields:
            schema = nullable(schema)
        properties[one.name] = _described(schema, said.get(one.name, ""))
    needed = {k: v for k, v in properties.items() if k in kind.null_fields | kind.required}
    others = {k: v for k, v in properties.items() if k not in needed}
    return record(needed, others, title=kind.__name__, more=True)


def _described(schema: Schema, said: str) -> Schema:
    return {**schema, "description": said} if said else schema
