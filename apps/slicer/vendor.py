"""Copy into the module what it takes from elsewhere in the repository; `--check` only compares.

    python apps/slicer/vendor.py

The client is apps/client, the words with their codes are those of promptseg. Slicer loads the copies,
so that the extension installs nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COPIES = HERE / "PromptSeg" / "PromptSegLib" / "vendor"


def wanted() -> dict[Path, bytes]:
    """Every copy there should be, by its path, and its content."""
    client = ROOT / "apps" / "client" / "src" / "promptseg_client"
    found = {COPIES / client.name / f.name: f.read_bytes() for f in sorted(client.glob("*.py"))}
    found[COPIES / "terms.csv"] = (ROOT / "src/promptseg/terms/terms.csv").read_bytes()
    return found


def differing() -> list[Path]:
    """Copies that are missing, superfluous or not in step."""
    expected = wanted()
    there = {p for p in COPIES.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    wrong = [p for p, content in expected.items() if p not in there or p.read_bytes() != content]
    return sorted([*wrong, *(there - expected.keys())])


def main() -> int:
    """Copy, or compare; 1 where copies are not in step."""
    if "--check" in sys.argv[1:]:
        for path in differing():
            print(f"not in step: {path.relative_to(ROOT)}; run python apps/slicer/vendor.py")
        return int(bool(differing()))
    for path in differing():
        content = wanted().get(path)
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
