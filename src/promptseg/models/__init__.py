"""Networks, and the registry that names them."""

from promptseg.models.cards import CARDS, ModelCard, find_card, models_that_take

__all__ = ["CARDS", "ModelCard", "find_card", "models_that_take"]
