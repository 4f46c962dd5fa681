"""Words on a small machine: a closed vocabulary on the embeddings of another model."""
