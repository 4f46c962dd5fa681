"""A real server with the model that needs no weights; a script of its own for tests that kill it.

    python -m serve.fake_server ROOT PORT [--again]

With `--again` lines on its standard input kill the server ("kill") and begin it anew ("start"), forked
from a process that has loaded everything.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import chain
from pathlib import Path

from conformance.other_kinds import BrightVocabulary
from fakes import BrightPredictor
from promptseg.inference.predictor import Predictor
from promptseg.segment.options import SegmentOptions
from promptseg.segment.segmenter import Segmenter
from promptseg.serve.options import ServeJob
from promptseg.serve.run import serve

TOKEN = "0123456789abcdef0123"
OPTIONS = SegmentOptions(min_iou=0, min_area=0, propagate="box")


def bright(card: str = "mobile-sam") -> Segmenter:
    return Segmenter(BrightPredictor(card=card))


def words() -> Segmenter:
    """The same with a few words."""
    return Segmenter(Predictor(BrightVocabulary(), Path("none.pth"), "0" * 64))


def run(root: Path, port: int) -> None:
    job = ServeJob(root=root, port=port, token=TOKEN)
    models = {"bright": bright(), "promptseg-words": words()}
    serve(job, lambda text: print(text, flush=True), lambda _: models)


def run_again_and_again(root: Path, port: int) -> None:
    child = 0
    for line in chain(["start"], sys.stdin):
        if child:
            os.kill(child, signal.SIGKILL)  # as a power cut would
            os.waitpid(child, 0)
            child = 0
        if line.strip() == "kill":
            print("killed", flush=True)
            continue
        child = os.fork()
        if child == 0:
            try:
                run(root, port)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
    if child:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    (run_again_and_again if "--again" in sys.argv else run)(Path(sys.argv[1]), int(sys.argv[2]))
