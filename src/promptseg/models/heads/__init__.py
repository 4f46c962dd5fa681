"""Says what is put on or into a SAM: decoders of the embedding, low-rank adapters."""
