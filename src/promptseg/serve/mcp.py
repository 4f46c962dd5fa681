"""The Model Context Protocol on standard input and output: programs that plan call our tools.

The client starts the process and is the only one that can reach it, so that there is no address and no
token. Tools and their rules are `promptseg.serve.programs`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptseg._version import __version__
from promptseg.bounds import check_bounds
from promptseg.errors import MissingPackageError, PromptsegError
from promptseg.provenance import DISCLAIMER
from promptseg.serve.folder import Folder
from promptseg.serve.options import ModelsServed
from promptseg.serve.programs import Answer, Programs
from promptseg.serve.run import load_models

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

__all__ = ["McpJob", "serve_mcp", "server_of"]

log = logging.getLogger("promptseg")

_INSTRUCTIONS = (
    "Tools on medical images in one folder. Look at an image with info before you prompt: its picture "
    "is ticked in the pixel indices that boxes and points take, counted from 0. Check the picture that "
    "segment gives back, and low_confidence. "
    f"{DISCLAIMER[0].upper()}{DISCLAIMER[1:]}."
)


@dataclass(kw_only=True)
class McpJob(ModelsServed):
    """Let a program (an MCP client) look at, segment, correct, measure and convert images of a folder.

    The program starts this command and talks to it over standard input and output. It gets pictures of
    the images: if it sends them on, to a model in the cloud say, they leave the machine. --no-pictures
    keeps them here.
    """

    pictures: bool = field(default=True, metadata={"off": "Give no pictures back, numbers alone."})
    """Give pictures back."""

    image_mib: int = 4096
    """MiB of an image, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "mcp")


def serve_mcp(job: McpJob) -> int:
    """Serve until the client goes; returns the exit code.

    Raises:
        MissingPackageError: the package mcp is not installed.
        PromptsegError: no such folder, or a model that cannot be loaded.
    """
    folder = Folder(job.root)
    _require_package()
    server = server_of(
        Programs(folder, load_models(job), job.image_mib, job.pictures, job.modality)
    )
    if job.pictures:
        log.warning("the program gets pictures of what it opens; --no-pictures keeps them here")
    server.run("stdio")
    return 0


def server_of(programs: Programs) -> MCPServer[Any]:
    """Build the MCP server that offers these tools.

    Args:
        programs: what the tools do.
    """
    _require_package()
    import anyio
    from mcp.server.mcpserver import Image, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    server: MCPServer[Any] = MCPServer(
        "promptseg", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )

    async def answered(call: Callable[[], Answer]) -> list[Any]:
        try:
            answer = await anyio.to_thread.run_sync(call)
        except PromptsegError as error:
            raise ToolError(str(error)) from None
        said: list[Any] = [json.dumps(answer.content, default=str)]
        return said if answer.picture is None else [*said, Image(data=answer.picture, format="png")]

    looks = ToolAnnotations(read_only_hint=True)
    writes = ToolAnnotations(read_only_hint=False, destructive_hint=False)

    @server.tool(
        description=_said(programs.list_images), annotations=looks, structured_output=False
    )
    async def list_images(folder: str = "") -> list[Any]:
        return await answered(lambda: programs.list_images(folder))

    @server.tool(
        description=_said(programs.describe_models), annotations=looks, structured_output=False
    )
    async def models() -> list[Any]:
        return await answered(programs.describe_models)

    @server.tool(description=_said(programs.info), annotations=looks, structured_output=False)
    async def info(image: str, slice: int | None = None, axis: str | None = None) -> list[Any]:
        return await answered(lambda: programs.info(image, slice, axis))

    @server.tool(description=_said(programs.segment), annotations=writes, structured_output=False)
    async def segment(
        image: str,
        output: str,
        boxes: list[str] | None = None,
        points: list[str] | None = None,
        texts: list[str] | None = None,
        model: str = "",
        slices: str | None = None,
        overwrite: bool = False,
    ) -> list[Any]:
        return await answered(
            lambda: programs.segment(
                image,
                output,
                boxes=boxes or (),
                points=points or (),
                texts=texts or (),
                model=model,
                slices=slices,
                overwrite=overwrite,
            )
        )

    @server.tool(description=_said(programs.correct), annotations=writes, structured_output=False)
    async def correct(
        image: str,
        mask: str,
        output: str,
        points: list[str] | None = None,
        boxes: list[str] | None = None,
        model: str = "",
        overwrite: bool = False,
    ) -> list[Any]:
        return await answered(
            lambda: programs.correct(
                image,
                mask,
                output,
                points=points or (),
                boxes=boxes or (),
                model=model,
                overwrite=overwrite,
            )
        )

    @server.tool(description=_said(programs.measure), annotations=looks, structured_output=False)
    async def measure(mask: str) -> list[Any]:
        return await answered(lambda: programs.measure(mask))

    @server.tool(description=_said(programs.convert), annotations=writes, structured_output=False)
    async def convert(
        mask: str, output: str, reference: str | None = None, overwrite: bool = False
    ) -> list[Any]:
        return await answered(lambda: programs.convert(mask, output, reference, overwrite))

    return server


def _said(tool: Callable[..., Answer]) -> str:
    """What a tool's docstring says, which is what a program is told of it."""
    import inspect

    return inspect.getdoc(tool) or ""


def _require_package() -> None:
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise MissingPackageError("mcp", "for programs that speak its protocol", "mcp")
