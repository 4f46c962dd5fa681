"""The command line with the tiny model: for trainings in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from promptseg.cli.main import main
from train.tiny import register

if __name__ == "__main__":
    register()
    sys.exit(main(["train", *sys.argv[1:]]))
