"""A server from its options to its end: models loaded and warm before it says that it is ready."""

from __future__ import annotations

import logging
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from promptseg.errors import InputError, MissingPackageError
from promptseg.formats.files import check_output
from promptseg.models.protocol import SlicePrompt
from promptseg.names import for_terminal
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter, load
from promptseg.serve.audit import Audit
from promptseg.serve.desk import Desk
from promptseg.serve.folder import Folder
from promptseg.serve.options import ModelsServed, ServeJob
from promptseg.serve.retention import keep_for
from promptseg.timing import StudyLog

__all__ = ["load_models", "serve", "warmed"]


def warmed(segmenter: Segmenter) -> Segmenter:
    """Run a model once, so that the first user does not wait for that, and return it."""
    predictor = segmenter.predictor
    slice_ = np.zeros((256, 256), np.uint8)
    slice_[96:160, 96:160] = 200
    embedding = predictor.encode([slice_])[0]
    if "box" in predictor.card.prompts:
        predictor.decode(embedding, [SlicePrompt((96.0, 96.0, 159.0, 159.0))])
    if "point" in predictor.card.prompts:
        predictor.decode(embedding, [SlicePrompt(None, ((128.0, 128.0),), (1,))])
    return segmenter


def serve(
    job: ServeJob,
    say: Callable[[str], None] = print,
    models: Callable[[ServeJob], dict[str, Segmenter]] | None = None,
) -> int:
    """Serve until interrupted.

    Args:
        job: what to serve.
        say: tells the user the address.
        models: loads the models, in place of those that are named.

    Returns:
        The exit code.

    Raises:
        InputError: a folder, model, address or port that cannot be used.
        MissingPackageError: the extra `serve` is not installed.
    """
    try:
        import uvicorn

        from promptseg.serve.archive import Archive
        from promptseg.serve.web.app import application
        from promptseg.serve.web.ohif import require_ohif
    except ImportError as error:
        raise MissingPackageError(error.name or "uvicorn", "for the server", "serve") from None
    folder = Folder(job.root)
    archive = None if job.archive is None else Archive(job.archive)
    ohif = None if job.ohif is None else require_ohif(job.ohif)
    audit = _audit_log(job, folder)
    token = job.token or secrets.token_urlsafe(24)
    with closing(_listening(job)) as listener:
        port = listener.getsockname()[1]
        options = SegmentOptions(modality=job.modality)
        desk = Desk({}, folder, job, options, times=_log_of_times(job))
        state: dict[str, Any] = {"ready": False}
        names = {"127.0.0.1", "localhost", "[::1]", job.host.strip("[]"), *job.name}
        own_names = names - {"0.0.0.0", "::"}
        app = application(
            desk,
            token,
            own_names,
            lambda: state["ready"],
            archive=archive,
            ohif=ohif,
            users=job.users,
            audit=audit,
        )
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws_max_size=1 << 16,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)

        def prepare() -> None:
            try:
                desk.models.update((models or load_models)(job))
                state["ready"] = True
                while not (server.started or server.should_exit):
                    time.sleep(0.01)
                host = "127.0.0.1" if job.host in ("0.0.0.0", "::") else job.host
                say(f"http://{host}:{port}/?token={token}")
            except BaseException as error:
                state["error"] = error
                server.should_exit = True

        _quiet_about_names()
        end_removing = _removing(job, folder, desk, audit)
        if not job.is_loopback:
            note = (
                "others can reach this address, and nothing on the way is encrypted: put a proxy with "
                "TLS in front of it (docs/security.md)"
            )
            print(f"note: {note}", file=sys.stderr)
        threading.Thread(target=prepare, daemon=True).start()
        server.run(sockets=[listener])
        end_removing()
        failed = state.get("error")
        if isinstance(failed, BaseException):
            raise failed
    return 0


def _audit_log(job: ServeJob, folder: Folder) -> Audit | None:
    """Where it is written down who does what, if somebody said so or users have names.

    Raises:
        OutputError: no place for a file.
    """
    if job.audit is None and not job.users.have_names:
        return None
    return Audit(folder.audit_file if job.audit is None else job.audit)


def _removing(job: ServeJob, folder: Folder, desk: Desk, audit: Audit | None) -> Callable[[], None]:
    """Remove sessions that are older than they are to be kept; what is returned ends it."""
    days = job.keep_days
    if days is None:
        return lambda: None

    def removed(count: int) -> None:
        if audit is not None:
            audit.write(did=f"sessions older than {days} days removed", count=count)

    def open_now() -> set[Path]:
        return {work.file for work in desk.all_works if work.file is not None}

    return keep_for(folder, days, open_now, removed)


def _log_of_times(job: ServeJob) -> Path | None:
    """Where annotation times go, if somebody said so.

    Raises:
        InputError, OutputError: a file that is no log of a study, or no place for one.
    """
    if job.times is None:
        return None
    check_output(job.times, overwrite=True)
    return StudyLog(job.times).path.resolve()


def load_models(job: ModelsServed) -> dict[str, Segmenter]:
    """Load the models that were named, choose their engine, and run each once.

    Args:
        job: which, and how they run.

    Raises:
        PromptsegError: a model that cannot be loaded.
    """
    found = {}
    for name in job.model or ("promptseg-lite",):
        segmenter = load(
            name, device=job.device, threads=job.threads, engine=job.engine, quiet=False
        )
        found[segmenter.predictor.card.name] = warmed(segmenter)
    return found


def _listening(job: ServeJob) -> socket.socket:
    """A socket that is bound, before any model is loaded.

    Raises:
        InputError: an address or port that cannot be had.
    """
    host = job.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, job.port))
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "no address of this machine"
        raise InputError(
            "an address and port that are free", f"{host}:{job.port} ({reason})", "choose another"
        ) from None
    return listener


class _Shown(logging.Handler):
    """What the server itself has to say; never a name of an image or patient."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record without its traceback, which may quote what users sent."""
        print(f"server: {for_terminal(record.getMessage())}", file=sys.stderr)


def _quiet_about_names() -> None:
    """Notes on images go to their page, not into the log."""
    ours = logging.getLogger("promptseg")
    ours.handlers, ours.propagate = [logging.NullHandler()], False
    own = logging.getLogger("promptseg.serve")
    own.handlers, own.propagate = [_Shown()], False
    own.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "websockets", "asyncio"):
        theirs = logging.getLogger(name)
        theirs.handlers, theirs.propagate = [logging.NullHandler()], False
