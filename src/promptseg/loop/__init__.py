"""Annotate, train, let the model propose, correct: rounds on a folder of images."""
