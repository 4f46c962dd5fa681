"""Answers to a task: checked, compared with the proposals, and kept as masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from promptseg.datasets import TruthSegment
from promptseg.display import show_mask, show_slice
from promptseg.errors import InputError, PromptsegError, did_you_mean
from promptseg.formats.files import atomic_path
from promptseg.image import Image, Segment
from promptseg.intensity import choose_intensity
from promptseg.loop.options import LoopOptions
from promptseg.loop.pool import Entry
from promptseg.loop.state import Came, LoopFolder, Round
from promptseg.loop.tasks import Answer, TaskFolder, mask_ending
from promptseg.metrics.overlap import count
from promptseg.result import Result

__all__ = ["agreement", "answers_of_labels", "is_contradicted", "take"]

log = logging.getLogger("promptseg")

_NAMED = 3
_SIZE = 200  # pixels of a thumbnail's longer side
_PROPOSED, _ANSWERED = (230, 97, 1), (0, 158, 115)  # told apart by colour-blind people too
_DIFFERENT, _LEAST = 0.2, 3  # DSC below which nothing of a proposal was kept; images to say so

Mask = NDArray[np.bool_]


def take(
    current: Round,
    task: TaskFolder,
    answers: Sequence[Answer],
    folder: LoopFolder,
    options: LoopOptions,
) -> None:
    """Take what came back of a round; nothing is written unless all of it can be.

    Args:
        current: the round.
        task: its task.
        answers: what came back.
        folder: of the loop, whose classes may grow.
        options: of this call.

    Raises:
        InputError: a task that is empty or half done, objects of other names, times that are needed and
            missing.
    """
    parts = {p.name: p.part for p in current.picked}
    done = [a for a in answers if a.state == "done"]
    _require_done(done, answers, parts, task.root, current.number, options)
    classes = _classes_of(done, folder, options)
    minutes = _minutes(done, task, options)
    came = []
    folder.classes = classes
    folder.save()  # first: numbers of classes never change
    for answer in answers:
        label, agreed = "", None
        if answer.state == "done":
            image = task.read(answer.name)
            label = _keep(answer, image, classes, current.folder / "labels")
            proposal = task.proposal(answer.name)
            agreed = agreement(proposal, dict(answer.objects)) if proposal else None
            _picture(answer, image, proposal, current.folder / "pictures", options)
        came.append(
            Came(
                answer.name,
                parts[answer.name],
                state=answer.state,
                objects=tuple(name for name, _ in answer.objects),
                label=label,
                seconds=answer.seconds,
                agreement=agreed,
                note=answer.note,
                source=answer.source,
            )
        )
    current.take(came, minutes)
    agreed_on = [c.agreement for c in came if c.agreement is not None]
    if is_contradicted(agreed_on):
        log.warning(
            "the expert contradicts the proposals everywhere: on none of %d images do they agree by a "
            "DSC of %g (mean %.2f). Names or numbers may be swapped, another task may be meant, or the "
            "model is of no use here yet",
            len(agreed_on),
            _DIFFERENT,
            float(np.mean(agreed_on)),
        )


def is_contradicted(agreements: Sequence[float]) -> bool:
    """Tell whether, of at least three proposals, not one was kept even by a fifth.

    Args:
        agreements: DSC of proposal and answer, by image.
    """
    return len(agreements) >= _LEAST and max(agreements) < _DIFFERENT


def agreement(proposal: dict[str, Mask], answer: dict[str, Mask]) -> float:
    """Return the mean DSC of the objects of both, by name; an object that only one has counts 0."""
    names = [*proposal, *(name for name in answer if name not in proposal)]
    scores = [
        count(answer[name], proposal[name]).dsc if name in answer and name in proposal else 0.0
        for name in names
    ]
    return float(np.mean(scores)) if scores else 1.0


def answers_of_labels(names: Sequence[str], pool: dict[str, Entry], by_class: bool) -> list[Answer]:
    """Answer a task with the labels of a dataset, in an expert's place.

    Args:
        names: of the images.
        pool: all images, with their labels.
        by_class: whether instances of a class are one object.

    Raises:
        InputError: labels that cannot be read.
    """
    found = []
    for name in names:
        case = pool[name].truth
        assert case is not None
        image, truth = case.load()
        objects: dict[str, Mask] = {}
        for segment in truth.segments:
            if not segment.is_empty:
                own = segment.name
                if by_class and isinstance(segment, TruthSegment) and segment.target:
                    own = segment.target
                mask = segment.mask(image.geometry.shape)
                objects[own] = objects[own] | mask if own in objects else mask
        found.append(Answer(name, "done", list(objects.items()), source="labels"))
    return found


def _require_done(
    done: Sequence[Answer],
    answers: Sequence[Answer],
    parts: Mapping[str, str],
    task: Path,
    number: int,
    options: LoopOptions,
) -> None:
    """Refuse a task that is not ready to be taken."""
    again = "and give the same command again"
    if not done:
        flagged = sum(a.state == "flagged" for a in answers)
        aside = f", {flagged} flagged" if flagged else ""
        raise InputError(
            "images of the task that are done",
            f"none of {len(answers)} in {task}{aside}",
            f"annotate them with promptseg serve --root {task}, mark them as done, {again}",
        )
    begun = [a.name for a in answers if a.state in ("half done", "to do")]
    if begun and not options.take_done:
        raise InputError(
            "a task that is done",
            f"{len(done)} of {len(answers)} images in {task}; not {_some(begun)}",
            f"finish it {again}, or take what is done with --take-done",
        )
    with_objects = dict.fromkeys(parts.values(), 0)
    for answer in done:
        with_objects[parts[answer.name]] += bool(answer.objects)
    empty = [part for part, n in with_objects.items() if not n]
    first = number == 1
    if (first and empty) or (not any(with_objects.values()) and not options.take_done):
        what = {"train": "to learn from", "validation": "to measure on"}
        wanted = " and one ".join(what[part] for part in with_objects)
        raise InputError(
            f"objects on at least one image {wanted}",
            f"{len(done)} images in {task} that are done, without anything on them",
            f"annotate some {again}"
            + ("" if first else ", or say with --take-done that there is nothing"),
        )
    for answer in done:
        if not answer.objects:
            log.warning(
                "%s is done and shows nothing: it counts, and nothing is learnt from it",
                answer.name,
            )
    if flagged_names := [a.name for a in answers if a.state == "flagged"]:
        log.warning(
            "%d images are flagged and left out: %s", len(flagged_names), _some(flagged_names)
        )


def _classes_of(done: Sequence[Answer], folder: LoopFolder, options: LoopOptions) -> list[str]:
    """The names of objects by their numbers, new ones at the end.

    Raises:
        InputError: a name that is not expected.
    """
    known = list(folder.classes)
    fixed = bool(known) and (options.task == "classes" or bool(options.classes))
    for answer in done:
        for name, _ in answer.objects:
            if name in known:
                continue
            if fixed:
                raise InputError(
                    f"objects called {', '.join(known)}",
                    f"{name!r} on {answer.name}",
                    f"{did_you_mean(name, known) or 'rename it'}, or take it as a class of its "
                    f"own with --classes {name!r}",
                )
            known.append(name)
    if options.task == "classes" and not folder.classes:
        log.warning("the classes of this loop are: %s", ", ".join(known))
    return known


def _minutes(done: Sequence[Answer], task: TaskFolder, options: LoopOptions) -> float | None:
    """What the round has cost; None where nobody knows.

    Raises:
        InputError: a budget of minutes, and no times.
    """
    logged = task.seconds_in_all()
    untimed = [a for a in done if a.seconds is None]
    if options.minutes_per_image is not None:
        return (logged or 0.0) / 60 + options.minutes_per_image * len(untimed)
    if logged is None and options.minutes is not None:
        raise InputError(
            "annotation times for a budget of --minutes",
            f"none in {task.root}",
            "choose Log annotation times in the page, or say what an image takes with "
            "--minutes-per-image",
        )
    return None if logged is None else logged / 60


def _keep(answer: Answer, image: Image, classes: Sequence[str], folder: Path) -> str:
    """Write the masks of an image under the numbers of their classes; the name of the file."""
    segments = [
        Segment.from_mask(name, classes.index(name) + 1, mask) for name, mask in answer.objects
    ]
    if not segments:
        return ""
    result = Result(segments, image.geometry, image.source, image=image)
    path = folder / f"{answer.name}{mask_ending(result)}"
    result.save(path, overwrite=True)
    return path.name


def _picture(
    answer: Answer, image: Image, proposal: dict[str, Mask], folder: Path, options: LoopOptions
) -> None:
    """A thumbnail of the slice with most of the answer: the proposal orange, what came back green."""
    try:
        own = [mask for _, mask in answer.objects]
        areas = np.zeros(image.geometry.slice_count("z"))
        for mask in own or proposal.values():
            areas += mask.sum() if mask.ndim == 2 else mask.sum((1, 2))
        index = int(areas.argmax()) if areas.any() else len(areas) // 2
        intensity = choose_intensity(image, options.modality, options.window, True)
        shown = show_slice(image, intensity, "z", index, _SIZE)
        canvas = np.array(shown.picture)
        for colour, masks in ((_PROPOSED, proposal.values()), (_ANSWERED, own)):
            for mask in masks:
                on = mask if mask.ndim == 2 else mask[index]
                canvas[show_mask(on, shown.display, shown.picture.size)[1]] = colour
        with atomic_path(folder / f"{answer.name}.png") as path:
            PilImage.fromarray(canvas).save(path, "PNG")
    except PromptsegError as error:  # the report goes without
        log.warning("no picture of %s: %s", answer.name, error)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
