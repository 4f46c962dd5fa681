"""Validations with known differences, for the tests of the verdict and of what is written of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from promptseg.train.validate import SHIFTED, Answer, Validation

Change = Callable[[str, str, int], float]  # modality, prompt, step -> change of the DSC


def made_validation(
    change: Change = lambda modality, prompt, step: 0.0,
    patients: int = 8,
    modalities: tuple[str, ...] = ("CT", "US"),
    corrections: int = 8,
    moved: float = 0.0,
    noise: int | None = None,
) -> Validation:
    """Two objects per patient and modality; the DSC rises with every correction.

    Args:
        change: added to each DSC.
        patients: of each modality, which has a dataset of its own.
        modalities: of the images.
        corrections: rounds.
        moved: added to the embeddings.
        noise: seed of a small change that sums to about nothing.
    """
    rng = np.random.default_rng(0)
    chance = np.random.default_rng(noise or 0)
    found = Validation()
    for modality in modalities:
        for p in range(patients):
            key = f"{modality.lower()}/{p}"
            found.embeddings[key] = (rng.normal(size=(4, 8, 8)) + moved).astype(np.float16)
            for target in ("1", "2"):
                about = (key, f"of {modality}", modality, str(p), target)
                level = rng.uniform(0.5, 0.6)
                for prompt in ("box", "point"):
                    for step in range(corrections + 1):
                        dsc = level + 0.02 * step + change(modality, prompt, step)
                        dsc += chance.normal(scale=0.01) if noise is not None else 0
                        dsc = float(np.clip(dsc - 0.2 * (prompt == "point"), 0, 1))
                        found.answers.append(Answer(*about, prompt, step, dsc, 0.9))
                lost = 0.1 if modality == "CT" else 0.2
                dsc = level + change(modality, "box", 0) - lost
                found.answers += [Answer(*about, SHIFTED, 0, dsc, 0.9)] * 4
    return found
