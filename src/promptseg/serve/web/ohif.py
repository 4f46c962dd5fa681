"""OHIF's prebuilt pages, as they are, beside our own: from a folder that the user names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from promptseg.errors import InputError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["ohif_pages", "require_ohif"]

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors 'none'"
)
"""Looser than our own page's, as OHIF evaluates code and styles; nothing from elsewhere either."""


def require_ohif(folder: Path) -> Path:
    """Return the folder, if it holds OHIF's built pages.

    Raises:
        InputError: it does not.
    """
    if not (folder / "index.html").is_file() or not (folder / "app-config.js").is_file():
        raise InputError(
            "a folder with OHIF's built pages (index.html, app-config.js)",
            str(folder),
            "see docs/ohif.md",
        )
    return folder.resolve()


def ohif_pages(folder: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler of `/ohif/...`; addresses that are no file are OHIF's own, and get its first
    page.

    Args:
        folder: of `require_ohif`.
    """

    async def page(request: Request) -> Response:
        from starlette.responses import FileResponse

        name = request.path_params["name"]
        path = (folder / name).resolve()
        inside = folder in path.parents and path.is_file()
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return FileResponse(path if inside else folder / "index.html", headers=headers)

    return page
