"""Code of our own, in C: what no library does as quickly, compiled when it is first used."""

from promptseg.runtime.native.engine import Native

__all__ = ["Native"]
