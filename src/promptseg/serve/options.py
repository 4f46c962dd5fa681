"""Every option of the server, defined once."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import tyro

from promptseg.errors import InputError
from promptseg.image import MODALITIES
from promptseg.serve.limits import Limits
from promptseg.serve.users import Users

__all__ = ["ModelsServed", "ServeJob"]

_SHORTEST_TOKEN = 16


@dataclass(kw_only=True)
class ModelsServed:
    """Options that say which images and models are served."""

    root: Path = Path()
    """Folder whose images may be opened, and where results go."""

    model: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Model to load (default: promptseg-lite); may be repeated, and the first one is taken where none
    is named."""

    modality: str | None = None
    """Modality of the images, over what files say, and where nothing says it."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""

    threads: int | None = None
    """CPU threads (default: PROMPTSEG_THREADS, or all)."""

    engine: str | None = None
    """What executes the models (docs/engines.md); chosen by measurement if not given."""

    def __post_init__(self) -> None:
        if self.modality is not None and self.modality not in MODALITIES:
            raise InputError(f"--modality out of {', '.join(MODALITIES)}", repr(self.modality))


@dataclass(kw_only=True)
class ServeJob(Limits, ModelsServed):
    """Serve models to people with a mouse: a page, nnInteractive's clients, and programs.

    Prints one address with a token; whoever has it may open the images below --root and write results
    there. Only this machine can reach it unless --host says otherwise (docs/security.md).
    """

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 1527
    """Port to listen on; 0 takes any that is free."""

    token: str | None = None
    """What every request needs; a new one for every start, if not given."""

    times: Path | None = None
    """Log of annotation times that the page writes on request (default: .promptseg/times.jsonl below
    --root)."""

    archive: str | None = None
    """DICOMweb archive that OHIF looks at through this server, dicomweb://HOST/PATH (docs/ohif.md)."""

    ohif: Path | None = None
    """Folder with OHIF's built pages, served at /ohif/."""

    user_header: str | None = None
    """Header in which the proxy in front of the server names the user, such as X-Remote-User
    (docs/users.md); users have no names without it."""

    trusted_proxy: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Address or network of the proxy whose --user-header is believed (default: this machine); may be
    repeated."""

    role: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """USER=annotator|reviewer|admin; may be repeated, and the user * stands for everybody else."""

    audit: Path | None = None
    """Audit log (default: .promptseg/audit.jsonl below --root where users have names, else none)."""

    keep_days: int | None = None
    """Days after which sessions that nobody has gone on with are removed (default: never)."""

    name: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Further name of this machine, as browsers write it in the address; may be repeated."""

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        ModelsServed.__post_init__(self)
        if self.token is not None and (
            len(self.token) < _SHORTEST_TOKEN or not self.token.isascii() or " " in self.token
        ):
            raise InputError(
                f"--token of at least {_SHORTEST_TOKEN} letters and digits",
                f"{len(self.token)} characters",
                "leave it out to have one made",
            )
        _ = self.users
        if not self.is_loopback and self.token is None:
            raise InputError(
                "--token beside a --host that others can reach", self.host, "choose a long one"
            )

    @property
    def users(self) -> Users:
        """Return the rules by which users are named.

        Raises:
            InputError: no header, address or role.
        """
        return Users(self.user_header, self.trusted_proxy, self.role)

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
