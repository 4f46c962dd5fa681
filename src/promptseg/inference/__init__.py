"""A model at work: slices encoded and prompted, embeddings kept in memory and on disk."""
