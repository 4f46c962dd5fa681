"""Started by Python itself: writes down who is called over a network and what is opened for writing."""

import json
import os
import sys

_NETWORK = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto")
_MADE = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _start(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(kind: str, what: object) -> None:
        where = os.path.abspath(os.fsdecode(what)) if isinstance(what, (str, bytes)) else repr(what)
        os.write(log, (json.dumps([kind, where]) + "\n").encode())

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            name, mode, flags = args
            if isinstance(name, int):
                return
            writes = any(c in mode for c in "wax+") if isinstance(mode, str) else False
            if writes or (isinstance(flags, int) and flags & _WRITES):
                note("write", name)
        elif event in _NETWORK:
            local = event == "socket.connect" and isinstance(args[1], str)  # a socket in a folder
            note("write" if local else "network", args[1] if local else [event, repr(args[1:])])
        elif event in _MADE:
            note("write", args[_MADE[event]])

    sys.addaudithook(hook)


if "PROMPTSEG_TRACE" in os.environ:
    _start(os.environ["PROMPTSEG_TRACE"])
