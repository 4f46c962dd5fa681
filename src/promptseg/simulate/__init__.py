"""Simulated users: what they prompt first, and how they correct what they see."""

from typing import TYPE_CHECKING

from promptseg._lazy import lazily

if TYPE_CHECKING:
    from promptseg.simulate.boxes import Jitter, jittered_box
    from promptseg.simulate.clicks import (
        Click,
        Round,
        correction_clicks,
        first_click,
        interactive_rounds,
    )
    from promptseg.simulate.first import FirstPrompt, first_prompt
    from promptseg.simulate.seeds import generator

__all__ = [
    "Click",
    "FirstPrompt",
    "Jitter",
    "Round",
    "correction_clicks",
    "first_click",
    "first_prompt",
    "generator",
    "interactive_rounds",
    "jittered_box",
]

_HOMES = {
    "Jitter": "boxes",
    "jittered_box": "boxes",
    "Click": "clicks",
    "Round": "clicks",
    "correction_clicks": "clicks",
    "first_click": "clicks",
    "interactive_rounds": "clicks",
    "FirstPrompt": "first",
    "first_prompt": "first",
    "generator": "seeds",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
