"""The dataclass of every verb's options, which help and completion are made from."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["KINDS", "kind_of"]

KINDS: dict[str, str] = {
    "segment": "promptseg.segment.options:SegmentJob",
    "plan": "promptseg.jobs.plan_options:PlanJob",
    "convert": "promptseg.jobs.convert:ConvertJob",
    "curate": "promptseg.curate.options:CurateJob",
    "curate check": "promptseg.cli.preflight:CheckCommand",
    "curate statistics": "promptseg.cli.preflight:StatisticsCommand",
    "train": "promptseg.train.options:TrainOptions",
    "train merge": "promptseg.train.merge_options:MergeOptions",
    "train words": "promptseg.train.words.options:TeachOptions",
    "loop": "promptseg.loop.options:LoopOptions",
    "evaluate": "promptseg.evaluate.options:EvaluateJob",
    "evaluate compare": "promptseg.cli.compare:CompareCommand",
    "report": "promptseg.cli.report:_ReportJob",
    "embed": "promptseg.segment.options:EmbedJob",
    "export": "promptseg.export.options:ExportJob",
    "serve": "promptseg.serve.options:ServeJob",
    "mcp": "promptseg.serve.mcp:McpJob",
    "info": "promptseg.cli.info:InfoCommand",
    "models": "promptseg.cli.models:ModelsCommand",
    "assets": "promptseg.cli.assets:AssetsCommand",
    "benchmark": "promptseg.cli.benchmark:BenchmarkCommand",
    "timing": "promptseg.cli.timing:TimingCommand",
    "demo": "promptseg.cli.demo:DemoCommand",
    "schema": "promptseg.cli.schema:SchemaCommand",
    "completion": "promptseg.cli.completion:CompletionCommand",
}
"""Verb, with its second word where it has one -> module:class."""


def kind_of(verb: str) -> type[Any]:
    """Return the dataclass of a verb's options."""
    module, _, name = KINDS[verb].partition(":")
    found: type[Any] = getattr(import_module(module), name)
    return found
