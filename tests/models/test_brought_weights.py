"""A model whose weights have no address: one card is all it takes, and what to do is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from promptseg.cli.main import main
from promptseg.errors import ModelError
from promptseg.models import cards
from promptseg.models.checkpoint import open_checkpoint


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = replace(
        cards.CARDS["sam-vit-b"], name="toy-vit-b", weights="", source="https://toy.example"
    )
    monkeypatch.setitem(cards.CARDS, "toy-vit-b", toy)


@pytest.mark.usefixtures("_toy")
def test_it_is_listed_and_its_file_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "weights of toy-vit-b, which you get from the source; then --model toy-vit-b=FILE" in shown
    )
    with pytest.raises(ModelError, match=r"https://toy\.example, then --model toy-vit-b=FILE"):
        open_checkpoint("toy-vit-b")


def test_every_card_that_names_an_asset_has_one() -> None:
    for card in cards.CARDS.values():
        assert cards.weights_of(card).kind == "weights"
