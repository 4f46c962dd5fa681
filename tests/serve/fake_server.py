"""A real server with the model that needs no weights; a script of its own for tests that kill it."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes import BrightPredictor
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve

TOKEN = "0123456789abcdef0123"
OPTIONS = SegmentOptions(min_iou=0, min_area=0, propagate="box")


def bright(card: str = "mobile-sam") -> Segmenter:
    return Segmenter(BrightPredictor(card=card))


if __name__ == "__main__":
    job = ServeJob(root=Path(sys.argv[1]), port=int(sys.argv[2]), token=TOKEN)
    serve(job, lambda text: print(text, flush=True), lambda _: {"bright": bright()})
