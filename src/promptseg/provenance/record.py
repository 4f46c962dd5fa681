"""Records of facts that are written as JSON and read again, by this version or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from promptseg.errors import InputError

__all__ = [
    "Record",
    "fact",
    "many",
    "mapping",
    "nested",
    "number",
    "numbers",
    "records",
    "switch",
    "text",
    "texts",
    "whole",
    "whole_numbers",
]

Reader = Callable[[Any], Any]
Rule = Callable[[Any], Any]


def _of(kind: type | tuple[type, ...], called: str) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(called)
        return value

    return read


text = _of(str, "a text")
whole = _of(int, "a whole number")
number = _of((int, float), "a number")
switch = _of(bool, "true or false")
mapping = _of(dict, "a JSON object")
_list = _of(list, "a list")


def many(read: Reader) -> Reader:
    """Build a reader of lists of values, which gives a tuple."""
    return lambda value: tuple(read(item) for item in _list(value))


texts, whole_numbers, numbers = many(text), many(whole), many(number)


def nested(kind: type[Record]) -> Reader:
    """Build a reader of one record of a kind."""
    return kind.from_json


def records(kind: type[Record]) -> Reader:
    """Build a reader of lists of records of a kind."""
    return lambda value: tuple(kind.from_json(entry) for entry in _list(value))


def fact(read: Reader) -> Any:
    """Return a field of a record that is None until something is known; `read` checks its JSON value.

    A reader gives the value, or raises TypeError with what was expected.
    """
    return field(default=None, metadata={"read": read})


@dataclass(frozen=True, kw_only=True)
class Record:
    """Facts with names; None where nothing is known.

    Attributes:
        more: fields of later versions, as they were read.
        public_fields: what may be shown to anybody: name of the field and what is shown of its value.
            A field that does not stand there is private.
        null_fields: fields that stand in the JSON where nothing is known, too.
        required: fields without which JSON is not such a record.
    """

    more: Mapping[str, Any] = field(default_factory=dict)
    public_fields: ClassVar[Mapping[str, Rule]] = {}
    null_fields: ClassVar[frozenset[str]] = frozenset()
    required: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read the record that parsed JSON holds, written by this version or another.

        Raises:
            InputError: a field of another form than any version wrote.
        """
        if not isinstance(content, dict):
            raise InputError("a JSON object", f"{content!r:.100}")
        readers = {f.name: f.metadata["read"] for f in fields(cls) if "read" in f.metadata}
        known: dict[str, Any] = {}
        for name, value in content.items():
            if name not in readers or value is None:
                continue
            try:
                known[name] = readers[name](value)
            except TypeError as error:
                raise InputError(f"{name}: {error}", f"{value!r:.100}") from None
            except InputError as error:
                raise InputError(f"{name}: {error.expected}", error.got) from None
        if missing := sorted(cls.required - set(known)):
            raise InputError(f"the field {', '.join(missing)}", "none")
        return cls(**known, more={k: v for k, v in content.items() if k not in readers})

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain values; what is not known is left out."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        return {
            **{k: _plain(v) for k, v in known.items() if v is not None or k in self.null_fields},
            **{k: _plain(v) for k, v in self.more.items()},
        }

    def public(self) -> Self:
        """Return the part of the record that may be shown to anybody; see `public_fields`."""
        shown = {name: rule(getattr(self, name)) for name, rule in self.public_fields.items()}
        return type(self)(**shown)

    def __bool__(self) -> bool:
        return self != type(self)()


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
