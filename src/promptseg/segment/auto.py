"""`--model auto` of a job: what the choice goes by is what the job is about to do."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from promptseg.image import Image
from promptseg.models.cards import AUTO
from promptseg.models.choose import Choice, choose
from promptseg.prompts import Mask, Millimetres, Prompt
from promptseg.segment.options import SegmentJob
from promptseg.segment.projection import kinds_of
from promptseg.segment.run import axis_of_run

__all__ = ["settle_model"]

log = logging.getLogger("promptseg")


def settle_model(
    job: SegmentJob, prompts: Iterable[Prompt], image: Image | None
) -> tuple[SegmentJob, Choice | None]:
    """Choose the model of a job that leaves it to auto; a job that names its model is left as it is.

    Args:
        job: what to do.
        prompts: its prompts.
        image: what to do it on; None if not known.

    Returns:
        The job, and the choice if there was one to make.

    Raises:
        ModelError: no model takes all these prompts, or no weights of one can be had.
    """
    if job.model != AUTO:
        return job, None
    prompts = list(prompts)
    axis = axis_of_run(prompts, job.axis)
    several = image is not None and image.geometry.slice_count(axis) > 1
    spreads = several and job.propagate != "none"
    kinds = set().union(*map(_kinds, prompts))
    if spreads and job.propagate:
        kinds |= kinds_of(job.propagate)
    modality = job.modality or (image.modality if image else None)
    choice = choose(kinds, modality, "3d" if spreads else "2d")
    log.warning("auto chose %s", choice)
    return replace(job, model=choice.model), choice


def _kinds(prompt: Prompt) -> set[str]:
    """Kinds of prompts the model is asked to take; a mask that is the answer asks nothing of it."""
    if isinstance(prompt, Millimetres):
        return {"point" if prompt.what == "points" else "box"}
    if isinstance(prompt, Mask) and prompt.as_drawn:
        return set()
    return {prompt.kind}
