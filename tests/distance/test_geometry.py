"""Effective rank, cones, alignment and uniformity of clouds whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ive

from crossdistill.distance import alignment, cone, effective_rank, uniformity
from crossdistill.training import guards


def test_effective_rank() -> None:
    rng = np.random.default_rng(0)
    assert effective_rank(rng.standard_normal((3000, 6)), draws=20).value == pytest.approx(6, abs=0.02)
    assert effective_rank(np.outer(1 + rng.random(50), np.arange(1, 9))).value == pytest.approx(1, abs=1e-4)
    rows = rng.standard_normal((80, 200)) * np.arange(1, 201)
    assert effective_rank(rows, draws=20).value == pytest.approx(
        guards.effective_rank(torch.from_numpy(rows)), rel=1e-5
    )


def test_uniformity_on_the_circle() -> None:
    # E exp(-2 |x - y|^2) = exp(-4) I_0(4) for two independent points of a circle.
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 2000)
    measured = uniformity(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert measured.value == pytest.approx(np.log(ive(0, 4)), abs=0.03)
    assert uniformity(np.ones((20, 4))).value == pytest.approx(0)


def test_uniformity_is_that_of_the_guards() -> None:
    rows = np.random.default_rng(0).standard_normal((60, 5))
    assert uniformity(rows).value == pytest.approx(guards.uniformity(torch.from_numpy(rows)), abs=1e-5)


def test_alignment() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    assert alignment(x, 4 * x).value == pytest.approx(0)
    assert alignment(x, -x).value == pytest.approx(4)
    orthogonal = np.cross(x, np.array([1.0, 2.0, 3.0]))
    assert alignment(x, orthogonal).value == pytest.approx(2)


def test_alignment_covers() -> None:
    # Independent directions: the mean is 2, and 95% of the intervals should have it.
    found = []
    for seed in range(100):
        x, y = np.random.default_rng(seed).standard_normal((2, 60, 4))
        found.append(alignment(x, y, seed=seed))
    assert 0.88 <= np.mean([each.low <= 2 <= each.high for each in found]) < 1


def test_cones() -> None:
    rng = np.random.default_rng(0)
    assert abs(cone(rng.standard_normal((500, 3))).value) < 0.03
    # Vectors e_1 + t u with u orthogonal, |u| = 1, t = 1: the mean cosine is 1 / 2 + (mean of u u') / 2 = 1 / 2.
    angles = rng.uniform(0, 2 * np.pi, 1000)
    found = cone(np.stack([np.ones(1000), np.cos(angles), np.sin(angles)], axis=1))
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.low < 0.5 < found.high
    assert abs(cone(np.repeat(np.array([[1.0, 0], [-1, 0]]), 50, axis=0)).value) < 0.02  # opposite cones look like none
