"""Additions to a SAM: decoders of the embedding, low-rank adapters."""
