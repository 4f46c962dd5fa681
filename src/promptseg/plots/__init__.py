"""Plots as SVG, drawn with matplotlib (extra `evaluate`), which most readers know how to restyle."""
