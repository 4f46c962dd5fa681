"""One case as one model sees it, and what is found out about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from promptseg.evaluate.options import EvaluateOptions, Protocol
from promptseg.evaluate.protocols.ground_truth import GroundTruthCase
from promptseg.evaluate.report.embeddings import principal_components
from promptseg.image import Segment
from promptseg.inference.embedded import EmbeddedImage
from promptseg.inference.predictor import Predictor
from promptseg.intensity import choose_intensity
from promptseg.models.protocol import Embedding
from promptseg.simulate.first import PromptKind, kind_of
from promptseg.simulate.seeds import generator

__all__ = ["Scene", "prompts_for"]

_CACHE_BYTES = 2 << 30
_STARTED = {
    "3d",
    "interactive-3d",
    "video",
    "sam2-paper",
}  # where a mask may come from another model


class _TimedStack(EmbeddedImage):
    """Slices that know how long their encoding has taken."""

    encoding_s = 0.0

    def _encode(self, indices: list[int], parallel: bool = False) -> tuple[list[Embedding], int]:
        start = time.perf_counter()
        answer = super()._encode(indices, parallel)
        self.encoding_s += time.perf_counter() - start
        return answer


@dataclass
class Scene(GroundTruthCase):
    """One case as one model sees it.

    Attributes:
        predictor: the model.
        starter: the model whose masks start volumes, if another one does.
        stack: its slices.
    """

    predictor: Predictor
    starter: Predictor | None = None
    stack: _TimedStack = field(init=False)

    def __post_init__(self) -> None:
        self.stack = self._stack_of(self.predictor)

    def _stack_of(self, predictor: Predictor) -> _TimedStack:
        keep = predictor.card.keep_8bit
        intensity = choose_intensity(self.image, window=self.options.window, keep_8bit=keep)
        return _TimedStack(
            self.image,
            "z",
            intensity,
            predictor,
            predictor.batch,
            cache_bytes=_CACHE_BYTES,
            look_ahead=False,  # times are taken of one thing at a time
        )

    @cached_property
    def starting_stack(self) -> _TimedStack:
        """Return the slices as the starting model sees them."""
        return self._stack_of(self.starter) if self.starter else self.stack

    def prompts(self, protocol: Protocol) -> list[PromptKind]:
        """Return the prompts that are put to the model; see `prompts_for`."""
        return prompts_for(self.predictor, protocol, self.options, self.starter)

    def chance(self, segment: Segment, index: int, kind: str) -> np.random.Generator:
        """Return the random generator for one prompt; the same for every model."""
        place = (self.dataset.name, self.case.name, segment.name, index, kind)
        return generator(self.options.seed, *place)

    def chance_of(self, *what: object) -> np.random.Generator:
        """Return the random generator for some purpose in the case; the same for every model."""
        return generator(self.options.seed, self.dataset.name, self.case.name, *map(str, what))

    def embedding(self) -> tuple[NDArray[np.float32], NDArray[np.float16] | None] | None:
        """Return the embedding of the encoded slice that is nearest to the middle of the objects.

        Returns:
            Its mean over all places, (channels,), and its three main components, (3, h, w), which show
            the image: None unless it may be published. None where no slice was encoded, as where a
            mask is given and not propagated.
        """
        if not (cached := self.stack.cached):
            return None
        extents = [s.region[0] for s in self.objects] if self.image.kind != "picture" else []
        middle = (
            min((r.start for r in extents), default=0) + max((r.stop for r in extents), default=0)
        ) // 2
        nearest = min(cached, key=lambda k: (abs(k - middle), k))
        map_ = self.stack.embedding(nearest).view().cpu()
        features = map_.flatten(1).numpy()
        mean = features.mean(axis=1)
        if not self.dataset.may_publish_images:
            return mean, None
        components, _ = principal_components(features.T.astype(np.float64), 3)
        return mean, components.T.reshape(3, -1, map_.shape[-1]).astype(np.float16)

    def clock(self) -> Callable[[], float]:
        """Return a stopwatch that leaves out the encoding of slices; call it for the seconds so far."""
        stacks = {id(s): s for s in (self.stack, self.starting_stack)}.values()

        def now() -> float:
            return time.perf_counter() - sum(stack.encoding_s for stack in stacks)

        start = now()
        return lambda: now() - start


def prompts_for(
    predictor: Predictor,
    protocol: Protocol,
    options: EvaluateOptions,
    starter: Predictor | None = None,
) -> list[PromptKind]:
    """Choose the prompts of a protocol that are put to a model.

    Args:
        predictor: the model.
        protocol: what is done with it.
        options: the prompts asked for.
        starter: the model that answers them in its place, and hands over its mask.

    Raises:
        UnsupportedPromptError: it was not trained for one, and that is neither forced nor left out.
    """
    clicks = {"point"} if protocol == "interactive-2d" and options.corrections else set()
    taken = []
    for kind in options.prompts_of(protocol):
        asked = predictor if starter is None or protocol not in _STARTED else starter
        needed = clicks | (set() if kind == "mask" else {kind_of(kind)})
        if options.skip_unsupported and not needed <= asked.card.prompts:
            continue
        asked.require(needed, options.force)
        taken.append(kind)
    return taken
