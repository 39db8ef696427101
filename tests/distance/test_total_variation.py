"""The bound on total variation is below the truth, and near it where it can be; the A-distance is what theory says."""

from __future__ import annotations

import numpy as np
import pytest
from tests.distance.cases import shift_variation, shifted

from crossdistill.distance import proxy_a_distance, total_variation
from crossdistill.distance.separator import best_threshold


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_bound_is_below_the_truth(shift: float) -> None:
    truth = shift_variation(shift)
    bounds = np.array([total_variation(*shifted(seed, 80, 2, shift), seed=seed).low for seed in range(40)])
    assert (bounds <= truth).mean() >= 0.95


def test_the_bound_is_below_the_truth_in_groups_of_near_copies() -> None:
    # Thirty groups of ten: as 300 independent items, the noise of the groups would be certified as a difference.
    found, naive = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 10)
        x, y = (rng.standard_normal((30, 2))[groups] + 0.01 * rng.standard_normal((300, 2)) for _ in range(2))
        found.append(total_variation(x, y, groups, seed=seed).low)
        naive.append(total_variation(x, y, seed=seed).low)
    assert max(found) == 0
    assert np.mean(np.array(naive) > 0) > 0.5


def test_the_bound_comes_near_with_items() -> None:
    measured = total_variation(*shifted(1, 1500, 2, 2.0))
    truth = shift_variation(2.0)
    assert truth - 0.12 < measured.low <= truth
    assert measured.value == pytest.approx(truth, abs=0.05)
    assert measured.high == 1
    assert measured.p_value is not None
    assert measured.p_value < 1e-6


def test_a_difference_without_a_shift_is_found() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 2)), 4 * rng.standard_normal((400, 2))
    assert total_variation(x, y).low > 0.4
    assert 0.4 < proxy_a_distance(x, y).value < 0.75  # the best hyperplane: the failure that is documented


def test_disjoint_supports() -> None:
    x, y = shifted(0, 200, 512, 60.0)
    measured = total_variation(x, y)
    assert measured.value == 1
    assert 1 - 18 / 200 < measured.low < 1
    assert proxy_a_distance(x, y).value == pytest.approx(2, abs=0.02)


def test_high_dimension_is_loose_and_never_beyond_the_truth() -> None:
    measured = total_variation(*shifted(3, 200, 512, 2.0))
    assert measured.low < measured.value < shift_variation(2.0)
    nothing = total_variation(*shifted(3, 200, 512, 0.0))
    assert nothing.low == 0
    assert nothing.p_value is not None
    assert nothing.p_value > 0.05


def test_the_level_moves_the_bound() -> None:
    x, y = shifted(0, 200, 2, 1.5)
    lows = [total_variation(x, y, level=level).low for level in (0.5, 0.95, 0.9999)]
    assert lows[0] > lows[1] > lows[2]


def test_the_p_value_is_where_the_bound_leaves_zero() -> None:
    x, y = shifted(5, 100, 2, 0.8)
    found = total_variation(x, y).p_value
    assert found is not None
    assert 1e-6 < found < 0.5
    assert total_variation(x, y, level=1 - 1.05 * found).low > 0
    assert total_variation(x, y, level=1 - 0.95 * found).low == 0


def test_unpaired_samples_of_different_size() -> None:
    x, y = shifted(0, 400, 2, 2.0)
    measured = total_variation(x, y[:150], np.arange(400), target_groups=1000 + np.arange(150))
    assert 0.45 < measured.low <= shift_variation(2.0)
    assert measured.items == 550


def test_a_distance_of_the_best_hyperplane() -> None:
    found = np.array([proxy_a_distance(*shifted(seed, 200, 2, 1.0), seed=seed).value for seed in range(10)])
    assert found.mean() == pytest.approx(2 * shift_variation(1.0), abs=0.08)
    nothing = np.array([proxy_a_distance(*shifted(seed, 200, 2, 0.0), seed=seed).value for seed in range(10)])
    assert abs(nothing.mean()) < 0.1


def test_the_threshold_separates_best() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.5, 0.9, 1.0])
    source = np.array([False, False, True, False, True, True])
    assert best_threshold(scores, source) == pytest.approx(0.7)
