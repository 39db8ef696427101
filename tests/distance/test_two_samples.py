"""MMD, transport and the modality gap against closed forms of Gaussians, and their tests under the hypothesis."""

from __future__ import annotations

import sys

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.stats import kstest
from tests.distance.cases import Floats, rotation, shifted

from crossdistill.distance import mean_discrepancy, modality_gap, sinkhorn_divergence, sliced_wasserstein
from crossdistill.distance.kernels import median_squared_distance, squared_distances
from crossdistill.errors import MissingDependencyError


def gaussian_mmd(shift: float, dimensions: int, width: float) -> float:
    """MMD squared of N(0, I) and N(mu, I): ``E k = (w / (w + 2))^(d/2) exp(-|mu|^2 / (2 (w + 2)))``."""
    return float(2 * (width / (width + 2)) ** (dimensions / 2) * (1 - np.exp(-(shift**2) / (2 * (width + 2)))))


def plain_mmd(x: Floats, y: Floats, width: float, groups: list[int]) -> float:
    """In loops: means over pairs of different groups."""
    sums: dict[str, list[float]] = {"xx": [], "yy": [], "xy": []}
    for i, g in enumerate(groups):
        for j, h in enumerate(groups):
            if g != h:
                for name, a, b in (("xx", x[i], x[j]), ("yy", y[i], y[j]), ("xy", x[i], y[j])):
                    sums[name].append(float(np.exp(-((a - b) ** 2).sum() / (2 * width))))
    return float(np.mean(sums["xx"]) + np.mean(sums["yy"]) - 2 * np.mean(sums["xy"]))


def test_mmd_is_that_of_plain_loops() -> None:
    x, y = shifted(0, 30, 3, 1.0)
    groups = [i // 2 for i in range(24)] + [50 + i for i in range(6)]
    measured = mean_discrepancy(x, y, groups, width=3.0)
    assert measured.value == pytest.approx(plain_mmd(x, y, 3.0, groups), rel=1e-9)
    several = mean_discrepancy(x, y, groups, width=3.0, factors=(0.5, 2.0)).value
    assert several == pytest.approx((plain_mmd(x, y, 1.5, groups) + plain_mmd(x, y, 6.0, groups)) / 2, rel=1e-9)


@pytest.mark.parametrize(("shift", "dimensions"), [(1.0, 2), (0.0, 2), (2.0, 32)])
def test_mmd_of_gaussians(shift: float, dimensions: int) -> None:
    truth = gaussian_mmd(shift, dimensions, dimensions)
    found = [mean_discrepancy(*shifted(s, 80, dimensions, shift), width=dimensions, seed=s) for s in range(40)]
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.85
    assert np.mean([(each.high - each.low) / 3.92 for each in found]) < 2.5 * values.std(ddof=1)


@pytest.mark.parametrize("paired", [True, False])
def test_p_values_are_uniform_when_nothing_differs(paired: bool) -> None:
    found = []
    for seed in range(300):
        x, y = shifted(seed, 24, 3, 0.0)
        sides = None if paired else 100 + np.arange(20)
        groups = np.arange(24)
        measured = mean_discrepancy(x, y[: len(y) if paired else 20], groups, target_groups=sides, seed=seed, draws=99)
        found.append(measured.p_value)
    assert kstest(np.array(found), "uniform").pvalue > 0.01


def test_swaps_respect_the_pairing() -> None:
    # Partners that are nearly the same: permutations that ignore pairs expect far more difference than swaps do.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    y = x + 0.1 + 0.02 * rng.standard_normal((60, 2))
    paired = mean_discrepancy(x, y).p_value
    unpaired = mean_discrepancy(x, y, np.arange(60), target_groups=60 + np.arange(60)).p_value
    assert paired is not None
    assert unpaired is not None
    assert paired < 0.05 < unpaired


def test_mmd_loses_power_with_dimension() -> None:
    values = [mean_discrepancy(*shifted(0, 200, dimensions, 1.0)).value for dimensions in (2, 512)]
    assert values[1] < 0.1 * values[0]


@pytest.mark.parametrize(("shift", "dimensions"), [(1.0, 2), (3.0, 64)])
def test_sliced_distance_of_a_shift(shift: float, dimensions: int) -> None:
    found = [sliced_wasserstein(*shifted(s, 100, dimensions, shift), seed=s, draws=20) for s in range(8)]
    truth = shift / np.sqrt(dimensions)
    assert np.mean([each.value for each in found]) == pytest.approx(truth, rel=0.1)
    assert sum(each.low <= truth <= each.high for each in found) >= 6


def test_sliced_distance_is_that_of_pot() -> None:
    x, y = shifted(2, 300, 3, 2.0)
    reference = ot.sliced_wasserstein_distance(x, y, n_projections=2000, seed=0)
    assert sliced_wasserstein(x, y, draws=20, directions=512).value == pytest.approx(reference, rel=0.03)
    unpaired = sliced_wasserstein(x, y[:200], np.arange(300), target_groups=300 + np.arange(200), draws=20)
    assert unpaired.value == pytest.approx(reference, rel=0.1)
    assert unpaired.p_value == pytest.approx(1 / 21)


def test_sliced_distance_of_scales() -> None:
    # N(0, I) and N(0, 4 I): every projection is at |2 - 1|.
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 4)), 2 * rng.standard_normal((500, 4))
    assert sliced_wasserstein(x, y, draws=20).value == pytest.approx(1, abs=0.08)


def test_nothing_is_found_in_nothing() -> None:
    found = [sliced_wasserstein(*shifted(s, 60, 8, 0.0), seed=s, draws=39, directions=16) for s in range(30)]
    assert np.mean([each.p_value is not None and each.p_value <= 0.1 for each in found]) <= 0.3
    # Without the correction the mean of squares would be 8 times what is allowed here.
    assert np.mean([each.value**2 for each in found]) < 0.02
    sinkhorn = [sinkhorn_divergence(*shifted(s, 60, 2, 0.0), seed=s, regularisation=2.0).value for s in range(20)]
    assert abs(np.mean(sinkhorn)) < 0.06


def entropic_gaussians(mean: float, one: Floats, other: Floats, weight: float) -> float:
    """Entropic transport between Gaussians at a distance of means: Janati et al., arXiv 2006.02572, theorem 1."""
    d, s = len(one), weight / 2
    root = np.real(sqrtm(one))
    mixed = np.real(sqrtm(4 * root @ other @ root + s**2 * np.eye(d)))
    penalty = d * s * (1 - np.log(2 * s)) + s * np.log(np.linalg.det(mixed + s * np.eye(d)))
    return float(mean**2 + np.trace(one) + np.trace(other) - np.trace(mixed) + penalty)


@pytest.mark.parametrize("weight", [1.5, 4.0])
def test_sinkhorn_divergence_of_gaussians(weight: float) -> None:
    one, other = np.eye(2), np.diag([4.0, 0.25])
    within = (entropic_gaussians(0, one, one, weight) + entropic_gaussians(0, other, other, weight)) / 2
    truth = entropic_gaussians(1.0, one, other, weight) - within
    found = []
    for seed in range(6):
        x, y = shifted(seed, 200, 2, 0.0)
        y = y * np.array([2.0, 0.5]) + np.array([0.0, 1.0])
        found.append(sinkhorn_divergence(x, y, seed=seed, regularisation=weight).value)
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found, ddof=1) / np.sqrt(6))
    assert truth > 1.2


def test_sinkhorn_approaches_the_wasserstein_distance() -> None:
    # Of a pure shift every penalty gives |mu|^2; clouds far apart need the logarithmic solver.
    x = np.random.default_rng(0).standard_normal((60, 2))
    assert sinkhorn_divergence(x, x + np.array([3.0, 4.0])).value == pytest.approx(25, rel=1e-3)
    far = sinkhorn_divergence(x, x + np.array([300.0, 400.0]), regularisation=1.0)
    assert far.value == pytest.approx(250_000, rel=1e-3)


def test_without_pot_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    for measure in (sliced_wasserstein, sinkhorn_divergence):
        with pytest.raises(MissingDependencyError, match=r"crossdistill\[theory\]"):
            measure(*shifted(0, 20, 2, 0.0))


def test_gap_of_two_cones() -> None:
    rng = np.random.default_rng(0)
    x, y = (np.eye(3)[axis] + 0.01 * rng.standard_normal((100, 3)) for axis in (0, 1))
    assert modality_gap(x, y).value == pytest.approx(np.sqrt(2), abs=0.01)
    assert modality_gap(x, 7 * x[rng.permutation(100)]).value < 0.01


def test_the_gap_of_nothing_is_not_that_of_chance() -> None:
    # Centroids of 50 random directions are sqrt(2 / 50) = 0.2 apart by chance.
    found = [modality_gap(*shifted(seed, 50, 256, 0.0), seed=seed).value for seed in range(20)]
    assert np.mean(np.square(found)) < 0.01


def test_distances_do_not_depend_on_the_origin_or_the_axes() -> None:
    x, y = shifted(0, 50, 4, 1.0)
    turn = rotation(0, 4)
    there = mean_discrepancy(x @ turn + 1e4, y @ turn + 1e4)
    assert there.value == pytest.approx(mean_discrepancy(x, y).value, abs=1e-6)


def test_squared_distances() -> None:
    x, y = shifted(0, 20, 3, 1.0)
    plain = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(x, y), plain, atol=1e-12)
    everyone = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    assert median_squared_distance(x) == pytest.approx(np.median(everyone[np.triu_indices(20, 1)]))
    with pytest.raises(ValueError, match="most vectors are the same"):
        median_squared_distance(np.ones((20, 3)))
