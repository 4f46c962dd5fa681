"""Semantic models: an encoder of the SAM family and a decoder of classes, in 2D and 3D."""
