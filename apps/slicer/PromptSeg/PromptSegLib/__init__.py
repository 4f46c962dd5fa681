"""The module without Qt: numpy is all it needs, and VTK in `mrml`, the only file that knows MRML."""
