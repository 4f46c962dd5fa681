"""Prompts for a promptseg server; see docs/server.md of promptseg for what travels."""

from promptseg_client.connection import ServerError, SessionEndedError
from promptseg_client.session import Server, Session

__all__ = ["Server", "ServerError", "Session", "SessionEndedError"]
__version__ = "0.1.0"
