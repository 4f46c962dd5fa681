"""The usual slips in folders of nnU-Net, named: each of them looks like a folder without any case."""

from __future__ import annotations

import re
from pathlib import Path

from promptseg.datasets.listing import Missing, ending_of, files_in, shortened
from promptseg.errors import InputError
from promptseg.formats.text import composed

__all__ = ["check_names", "passed_over"]

_CHANNEL = re.compile(r"_\d{4}$")


def check_names(root: Path, images: Path, labels: Path, ending: str, channel: int) -> None:
    """Refuse folders whose files are called otherwise than nnU-Net calls them, by the slip.

    Args:
        root: the dataset.
        images: its folder of images, `<case>_0000<ending>`.
        labels: its folder of labels, `<case><ending>`.
        ending: `file_ending` of dataset.json; "" if it does not say.
        channel: the channel that is read.

    Raises:
        InputError: files of another ending than dataset.json says, images without a channel, labels
            with one, images in the place of labels, or no file of this channel.
    """
    by_folder = {folder: _names(folder) for folder in (images, labels)}
    for folder, files in by_folder.items():
        wrong = [name + its for name, its in files if ending and its != ending.lower()]
        if wrong and len(wrong) == len(files):
            raise InputError(
                f"files ending in {ending}, the file_ending of dataset.json",
                f"{root}: {shortened([f'{folder.name}/{name}' for name in wrong])}",
                f'write "file_ending": "{files[0][1]}" in dataset.json, or rename the files',
            )
    stems = {folder: [name for name, _ in files] for folder, files in by_folder.items()}
    ends = f"_{channel:04d}"
    if stems[images] and not any(name.endswith(ends) for name in stems[images]):
        others = sorted({m[0] for name in stems[images] if (m := _CHANNEL.search(name))})
        if others:
            raise InputError(
                f"images of channel {channel} ({ends})",
                f"{root}: {images.name}/ with {shortened(others)} alone",
                "choose another with --channel, or add them",
            )
        raise InputError(
            f"images called <case>{ends}{ending or '.nii.gz'}",
            f"{root}: {shortened([f'{images.name}/{name}' for name in stems[images]])}",
            f"rename them: {stems[images][0]} becomes {stems[images][0]}{ends}",
        )
    cases = {_CHANNEL.sub("", name) for name in stems[images] if name.endswith(ends)}
    numbered = [name for name in stems[labels] if _CHANNEL.sub("", name) in cases - {name}]
    if numbered and not cases & set(stems[labels]):
        raise InputError(
            f"labels called <case>{ending or '.nii.gz'}, without {ends}",
            f"{root}: {shortened([f'{labels.name}/{name}' for name in numbered])}",
            f"rename them: {numbered[0]} becomes {_CHANNEL.sub('', numbered[0])}; "
            "if they are images, put the labels in their place",
        )


def passed_over(images: Path, labels: Path, ending: str) -> list[Missing]:
    """Return files that `check_names` lets pass and nobody reads: cases that would be lost."""
    lost = []
    for folder in (images, labels):
        for name, its in _names(folder):
            if ending and its != ending.lower():
                what = f"{folder.name}/{name}{its} does not end in {ending} (file_ending)"
            elif folder == images and not _CHANNEL.search(name):
                what = f"{folder.name}/{name}{its} has no channel (_0000)"
            else:
                continue
            lost.append(
                Missing(_CHANNEL.sub("", name), "image" if folder == images else "labels", what)
            )
    return lost


def _names(folder: Path) -> list[tuple[str, str]]:
    """(name without its ending, ending in small letters) of every image file."""
    found = []
    for path in files_in(folder):
        if its := ending_of(path):
            found.append((composed(path.name[: -len(its)]), its))
    return found
