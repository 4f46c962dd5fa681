"""Configurations that come along, by name: `promptseg train small_mobile-sam_medicosam`."""

from __future__ import annotations

from pathlib import Path

from promptseg.errors import InputError

__all__ = ["recipe_file", "recipes"]


def recipes() -> dict[str, Path]:
    """Name -> its YAML file."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def recipe_file(text: str) -> Path:
    """The file that a user names: one of their own, or a recipe by its name.

    A file that is there comes first; a path to a recipe's earlier place still finds the recipe.

    Raises:
        InputError: neither.
    """
    path, known = Path(text), recipes()
    if path.exists():
        return path
    if path.name in known or (path.suffix == ".yaml" and path.stem in known):
        return known.get(path.name) or known[path.stem]
    raise InputError(
        f"a YAML file, or a recipe out of {', '.join(known)}", text, "see docs/train.md"
    )
