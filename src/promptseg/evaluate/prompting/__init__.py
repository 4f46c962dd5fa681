"""Simulated users: what they prompt first, and how they correct what they see."""

from promptseg.evaluate.prompting.boxes import Jitter, jittered_box
from promptseg.evaluate.prompting.clicks import (
    Click,
    Round,
    correction_clicks,
    first_click,
    interactive_rounds,
)
from promptseg.evaluate.prompting.first import FirstPrompt, first_prompt
from promptseg.evaluate.prompting.seeds import generator

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
