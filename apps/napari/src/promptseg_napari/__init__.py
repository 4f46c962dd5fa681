"""promptseg in napari; nothing heavy is imported before it is used."""

__version__ = "0.1.0"
