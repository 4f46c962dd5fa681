"""Main axes of embeddings, against the eigenvectors of their covariance."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.errors import InputError
from promptseg.evaluate.report.embeddings import (
    component_picture,
    principal_components,
    read_embeddings,
)


def test_main_axes_are_the_eigenvectors_of_the_covariance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 6)) * [9, 5, 3, 1, 1, 1] + 4
    found, share = principal_components(vectors, 3)
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    expected = (vectors - vectors.mean(axis=0)) @ axes[:, ::-1][:, :3]
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-9)
    assert share == pytest.approx(values[::-1][:3] / values.sum())
    assert (found.max(axis=0) >= -found.min(axis=0)).all()


def test_axes_that_do_not_exist_are_zero():
    found, share = principal_components(np.array([[0.0], [2.0]]))
    assert np.abs(found) == pytest.approx(np.array([[1, 0], [1, 0]]))
    assert share.tolist() == [1, 0]
    assert principal_components(np.ones((3, 4)))[1].tolist() == [0, 0]


@pytest.mark.parametrize("vectors", [np.zeros((1, 4)), np.zeros(4), np.full((3, 2), np.nan)])
def test_what_has_no_axes_is_refused(vectors):
    with pytest.raises(InputError, match="finite embeddings"):
        principal_components(vectors)


def test_regions_of_an_encoder_output_get_colours_of_their_own():
    features = np.zeros((8, 6, 6))
    features[:3, :, :3], features[3:, :3, 3:] = 5.0, 2.0
    picture = component_picture(features)
    assert picture.shape == (6, 6, 3)
    colours = {tuple(picture[y, x]) for y, x in ((0, 0), (5, 0), (0, 5), (5, 5))}
    assert len(colours) == 3
    assert not component_picture(np.ones((4, 3, 3))).any()
    with pytest.raises(InputError):
        component_picture(np.zeros((4, 4)))


def test_files_of_embeddings(tmp_path):
    vectors, maps = np.arange(6.0).reshape(3, 2), np.ones((3, 4, 2, 2))
    np.savez(tmp_path / "a.npz", vectors=vectors, maps=maps, labels=["x", "y", "z"])
    assert read_embeddings(tmp_path / "a.npz").maps.shape == (3, 4, 2, 2)
    (tmp_path / "b.csv").write_text("label,e0,e1\nx,0,1\ny,2,3\nz,4,5\n")
    found = read_embeddings(tmp_path / "b.csv")
    assert found.labels == ["x", "y", "z"]
    assert found.vectors.tolist() == vectors.tolist()


@pytest.mark.parametrize(
    "arrays",
    [
        {"vectors": np.zeros((3, 2)), "labels": ["x"]},
        {"labels": ["x"]},
        {"vectors": np.zeros((3, 2))},
        {"vectors": np.zeros(3), "labels": ["x"] * 3},
        {"vectors": np.array([{}], dtype=object), "labels": ["x"]},
    ],
)
def test_other_files_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=r"write `vectors`|with the key labels|save plain arrays"):
        read_embeddings(tmp_path / "a.npz")
