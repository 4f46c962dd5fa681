"""JSON Schemas of what every verb prints with `--json`: one table, for `promptseg schema`."""

from __future__ import annotations

from collections.abc import Callable

from promptseg.cli.json_schema import (
    Schema,
    listed,
    named,
    nullable,
    record,
    schema_of,
    texts_by_name,
)

__all__ = ["ANSWERS", "schema_for"]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_SWITCH: Schema = {"type": "boolean"}
_OPEN: Schema = {"type": "object"}
_MAYBE = nullable(_NUMBER)

_FAILURE = record(
    {
        "error": record(
            {
                "kind": {**_TEXT, "description": "the kind of the error, InputError for one"},
                "expected": {**_TEXT, "description": "what would have been accepted"},
                "got": {**_TEXT, "description": "what was found instead"},
                "do": {**_TEXT, "description": "what to do about it; may be empty"},
            }
        )
    },
    title="a failure, with exit code 2",
)


def _of_a_list() -> Schema:
    from promptseg.work import Tally

    tally = schema_of(Tally)
    return {
        **tally,
        "properties": {**tally["properties"], "table": _TEXT},
        "required": [*tally["required"], "table"],
        "title": "of a list of cases",
    }


def _segment() -> list[Schema]:
    from promptseg.provenance import Provenance

    one = {**schema_of(Provenance), "required": ["software", "created", "model", "objects"]}
    return [
        {**one, "title": "the provenance of one image or video"},
        {**listed(one), "title": "of a folder: of every image that was segmented now"},
        _of_a_list(),
    ]


def _convert() -> list[Schema]:
    from promptseg.jobs.convert_folder import Annotated
    from promptseg.provenance import Provenance

    return [
        {
            **schema_of(Provenance),
            "required": ["converted", "objects", "output"],
            "title": "the provenance of the mask",
        },
        {**schema_of(Annotated), "title": "of a folder of masks, as COCO"},
        _of_a_list(),
    ]


def _plan() -> list[Schema]:
    from promptseg.jobs.plan import Estimate, Plan

    plan = schema_of(Plan)
    return [
        {
            **plan,
            "properties": {**plan["properties"], "node_hours": schema_of(Estimate)},
            "required": [*plan["required"], "node_hours"],
            "title": "what a list will take",
        }
    ]


def _curate() -> list[Schema]:
    return [
        record(
            {
                "schema": _TEXT,
                "samples": _WHOLE,
                "sha256": _TEXT,
                "promptseg": _TEXT,
                "options": _OPEN,
                "versions": texts_by_name(),
                "targets": _WHOLE,
                "bytes": _WHOLE,
                "groups": _WHOLE,
                "largest_group": _WHOLE,
                "look_alikes": _WHOLE,
                "counts": {},
                "excluded": {},
                "notes": texts_by_name(_WHOLE),
                "licences": {},
            },
            title="collection.json, without its datasets",
        )
    ]


def _check() -> list[Schema]:
    from promptseg.curate.leaking import Alike, Divided
    from promptseg.curate.preflight_findings import Balance
    from promptseg.curate.preflight_reading import Damage
    from promptseg.curate.sizes import Sizes

    return [
        record(
            {
                "passed": {**_SWITCH, "description": "whether training may start"},
                **dict.fromkeys(("errors", "warnings"), listed(_TEXT)),
                **dict.fromkeys(("collection", "sha256", "model"), _TEXT),
                "statistics": _statistics()[0],
                "sizes": listed(named(Sizes)),
                "balance": listed(named(Balance)),
                "leaks": listed(named(Divided)),
                "alike": listed(named(Alike)),
                "read": _WHOLE,
                "damaged": listed(named(Damage)),
                "licences": texts_by_name(listed(_TEXT)),
                "estimate": nullable(_OPEN),
                "read_seconds": _NUMBER,
                "report": record({"part": _TEXT, "patients": _WHOLE}),
            },
            title="preflight.json",
        )
    ]


def _statistics() -> list[Schema]:
    from promptseg.curate.statistics import Count

    count = schema_of(Count)
    return [record({"datasets": listed(count), "modalities": listed(count), "total": count})]


def _entry() -> Schema:
    from promptseg.curate.catalogue import Entry

    one = schema_of(Entry)
    added = {"kind": _TEXT, "dataset_json": _OPEN}
    return {
        **one,
        "properties": {**one["properties"], **added},
        "required": [*one["required"], *added],
    }


def _list() -> list[Schema]:
    from promptseg.curate.catalogue import Total

    return [record({"datasets": listed(_entry()), "totals": listed(named(Total))})]


def _show() -> list[Schema]:
    one = _entry()
    properties = {**one["properties"], "commands": listed(_TEXT)}
    return [{**one, "properties": properties, "required": [*one["required"], "commands"]}]


def _verdict() -> Schema:
    from promptseg.train.verdict import Outcome

    pair = record({"before": {}, "after": {}})
    return record(
        {
            "outcome": schema_of(Outcome),
            "reasons": listed(_TEXT),
            "comparisons": listed(_OPEN),
            "modalities": texts_by_name(listed(_OPEN)),
            "forgotten": listed(_TEXT),
            "listening": pair,
            "drift": _OPEN,
            "macro": pair,
            "curves": texts_by_name(pair),
            "classes": texts_by_name(listed(_OPEN)),
        },
        title="the verdict on a training",
    )


def _train() -> list[Schema]:
    return [_verdict()]


def _merge() -> list[Schema]:
    tried = {"type": "array", "prefixItems": [listed(_NUMBER), _MAYBE], "items": False}
    return [
        record(
            {"shares": texts_by_name(_NUMBER), "tried": listed(tried), "verdict": _verdict()},
            title="what was tried and what came of it",
        )
    ]


def _teach() -> list[Schema]:
    scores = record(
        {"images": _WHOLE, "dsc": _MAYBE, "auc": _MAYBE, "found": _MAYBE},
    )
    return [
        record(
            {
                **dict.fromkeys(("name", "part"), _TEXT),
                "words": texts_by_name(scores),
                "images": _WHOLE,
                "forgotten": _NUMBER,
            },
            title="the new words, and how well they do",
        )
    ]


def _loop() -> list[Schema]:
    from promptseg.loop.run import Stands

    return [{**schema_of(Stands), "title": "where the loop stands"}]


def _compare() -> list[Schema]:
    pair = record(
        {
            "first": _TEXT,
            "second": _TEXT,
            "models": listed(_TEXT),
            "masks_left_out": {},
            "differences": listed(_OPEN),
        }
    )
    return [
        record(
            {
                "notice": _TEXT,
                "promptseg": _TEXT,
                "first": _OPEN,
                "second": _OPEN,
                "differing_options": texts_by_name({"type": "array"}),
                "verdicts": listed(_TEXT),
                "warnings": listed(_TEXT),
                "pairs": listed(pair),
            },
            title="comparison.json",
        )
    ]


def _export() -> list[Schema]:
    from promptseg.jobs.place import Placed

    file = record({"bytes": _WHOLE, "sha256": _TEXT})
    parity = record(
        {"checked": _SWITCH},
        {
            "why": _TEXT,
            "against": _TEXT,
            "engine": _TEXT,
            **dict.fromkeys(("embedding", "logits", "iou", "allowed"), _NUMBER),
        },
    )
    card = record(
        {
            **dict.fromkeys(("model", "title", "notice", "weights_sha256", "licence"), _TEXT),
            **dict.fromkeys(("source", "citation"), _TEXT),
            "prompts": listed(_TEXT),
            "format": {"enum": ["onnx", "openvino", "official"]},
            "versions": texts_by_name(),
            "files": texts_by_name(file),
            "parity": parity,
        },
        {
            **dict.fromkeys(("trained_on", "weak_at", "base"), nullable(_TEXT)),
            "opset": _WHOLE,
            **dict.fromkeys(("preprocessing", "tensors", "labels"), _OPEN),
            **dict.fromkeys(("rules", "postprocessing"), listed(_TEXT)),
        },
        title="card.json",
    )
    return [card, {**schema_of(Placed), "title": "with --for"}]


def _info() -> list[Schema]:
    from promptseg.jobs.info import Facts

    return [schema_of(Facts)]


def _models() -> list[Schema]:
    card = record(
        dict.fromkeys(
            (
                *("name", "what", "prompts", "trained on", "weak at", "input", "weights"),
                *("licence", "source", "cite"),
            ),
            _TEXT,
        ),
        {"default": _TEXT, "published": _TEXT},
    )
    word = record({"word": _TEXT, "code": nullable(_TEXT)})
    choice = record(
        {
            **dict.fromkeys(("model", "by", "why"), _TEXT),
            "prompts": listed(_TEXT),
            "modality": nullable(_TEXT),
            "protocol": _TEXT,
            "evidence": listed(_OPEN),
        },
        title="with --recommend",
    )
    return [
        {**listed(card), "title": "models"},
        {**texts_by_name(listed(word)), "title": "with --words"},
        choice,
    ]


def _assets() -> list[Schema]:
    state = record(
        {
            **dict.fromkeys(("name", "kind", "file", "licence", "homepage", "citation"), _TEXT),
            "size": _WHOLE,
            "sha256": nullable(_TEXT),
            "sources": listed(_TEXT),
            "state": _TEXT,
            "path": nullable(_TEXT),
            "reason": nullable(_TEXT),
        }
    )
    return [listed(state)]


def _benchmark() -> list[Schema]:
    from promptseg.runtime.choose import Verdict

    engine = record(
        {
            "engine": _TEXT,
            **dict.fromkeys(("encode_s", "decode_s"), listed(_NUMBER)),
            **dict.fromkeys(("encode_ratio", "decode_ratio"), _NUMBER),
            **dict.fromkeys(("embedding", "logits", "tolerance"), _NUMBER),
            "usable": _SWITCH,
        }
    )
    measured = record(
        {
            **dict.fromkeys(("model", "device", "torch"), _TEXT),
            **dict.fromkeys(("threads", "rounds"), _WHOLE),
            "machine": _OPEN,
            "engines": listed(engine),
            "left_out": texts_by_name(),
        },
        title="what was measured",
    )
    return [measured, {**listed(schema_of(Verdict)), "title": "with --show"}]


ANSWERS: dict[str, Callable[[], list[Schema]]] = {
    "segment": _segment,
    "convert": _convert,
    "plan": _plan,
    "curate": _curate,
    "curate check": _check,
    "curate statistics": _statistics,
    "curate list": _list,
    "curate show": _show,
    "train": _train,
    "train merge": _merge,
    "train words": _teach,
    "loop": _loop,
    "evaluate compare": _compare,
    "export": _export,
    "info": _info,
    "models": _models,
    "assets": _assets,
    "benchmark": _benchmark,
}
"""Verb, with its second word where it has one -> the forms of its answer."""


def schema_for(verb: str) -> Schema:
    """Return the schema of all that a verb may print with `--json`.

    Args:
        verb: out of `ANSWERS`.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"promptseg {verb} --json",
        "anyOf": [*ANSWERS[verb](), _FAILURE],
    }
