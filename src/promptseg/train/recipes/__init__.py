"""Configurations that come along, by name: `promptseg train mobile-sam_medicosam`."""

from __future__ import annotations

from pathlib import Path

from promptseg.errors import InputError

__all__ = ["recipe_file", "recipes"]


def recipes() -> dict[str, Path]:
    """Return the YAML files of the recipes, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def recipe_file(text: str) -> Path:
    """Return the file that a user names: one of their own, or a recipe by its name.

    A file that is there comes first; the path of a recipe's earlier places still finds the recipe.

    Raises:
        InputError: neither.
    """
    path, known = Path(text), recipes()
    if path.exists():
        return path
    name = (path.stem if path.suffix == ".yaml" else path.name).removeprefix("small_")
    if name in known:
        return known[name]
    raise InputError(
        f"a YAML file, or a recipe out of {', '.join(known)}", text, "see docs/train.md"
    )
