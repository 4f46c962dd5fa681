"""Nothing is reported to anybody: the telemetry of packages that we use is off in our process.

OpenVINO imports `openvino_telemetry` with itself, which looks up a host for web analytics and leaves an
identifier in the user's home. Where it cannot be imported, OpenVINO takes a stub of its own.
onnxruntime (1.31) keeps a device identifier and a queue of events in the home from its import on, if no
variable says no; `disable_telemetry_events` comes too late for the identifier.
"""

from __future__ import annotations

import os
import sys
from typing import Any, cast

__all__ = ["refuse_telemetry"]

_PACKAGE = "openvino_telemetry"
_SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


def refuse_telemetry() -> None:
    """Switch reporting off, whatever the environment said.

    It has to come before the packages that report: `import promptseg` does it, and so does whatever
    imports OpenVINO or onnxruntime.
    """
    modules = cast("dict[str, Any]", sys.modules)
    for name in [_PACKAGE, *(n for n in modules if n.startswith(f"{_PACKAGE}."))]:
        modules[name] = None  # an import of it is an ImportError
    os.environ |= dict.fromkeys(_SWITCHES, "1")
