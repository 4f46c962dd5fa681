"""The server of the bright balls, which viewers speak to."""

from serve.conftest import desk, root, server

__all__ = ["desk", "root", "server"]
