"""Networks rewritten for inference: the same function of the same weights, sooner."""

from promptseg.runtime.rewrite.sam import FastSam, prepare

__all__ = ["FastSam", "prepare"]
