"""CKA, mutual neighbours, CCA, ridge regression and retrieval on pairs whose relation is known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.distance.cases import correlated, rotation

from crossdistill.distance import (
    canonical_correlation,
    chance_level,
    cross_fit,
    kernel_alignment,
    mutual_neighbours,
    out_of_fold,
    retrieval,
    ridge_r2,
)
from crossdistill.distance.neighbours import _jackknife, _Nearest, _shared
from crossdistill.distance.ridge import Decomposed, Ridge, choose_penalty, held_out


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_cka_is_blind_to_rotation_and_scale_alone(kernel: str) -> None:
    x, _ = correlated(0, 80, 6, 0.0)
    x = x * np.array([3.0, 1, 1, 1, 1, 1])
    same = kernel_alignment(x, 5 * x @ rotation(0, 6) + 2, kernel=kernel, draws=20)
    assert same.value == pytest.approx(1)
    assert kernel_alignment(x, x * np.array([1, 1, 1, 1, 1, 9.0]), kernel=kernel, draws=20).value < 0.8


def test_cka_of_independent_spaces_is_zero_with_more_dimensions_than_items() -> None:
    found = [kernel_alignment(*correlated(seed, 50, 400, 0.0), seed=seed, draws=20) for seed in range(10)]
    values = np.array([each.value for each in found])
    assert abs(values.mean()) < 0.02
    assert np.mean([each.low <= 0 <= each.high for each in found]) >= 0.8
    x, y = (side - side.mean(axis=0) for side in correlated(0, 50, 400, 0.0))
    biased = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert biased > 0.7  # which is why


def test_cka_of_correlated_coordinates_is_their_squared_correlation() -> None:
    found = [kernel_alignment(*correlated(seed, 100, 8, 0.7), seed=seed, draws=40) for seed in range(20)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.49, abs=0.02)
    assert np.mean([each.low <= 0.49 <= each.high for each in found]) >= 0.8
    assert max(each.high - each.low for each in found) < 0.35


def test_copies_in_groups_are_no_relation() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    x, y = rng.standard_normal((2, 40, 30))[:, groups]
    for measured, chance in (
        (kernel_alignment(x, y, groups, draws=40), 0.0),
        (mutual_neighbours(x, y, groups, neighbours=4, draws=40), chance_level(40, 4)),
    ):
        assert measured.value == pytest.approx(chance, abs=0.06)
        assert measured.p_value is not None
        assert measured.p_value > 0.05
    assert mutual_neighbours(x, y, neighbours=4, draws=10).value > 0.9  # without groups copies are all there is


def test_mutual_neighbours() -> None:
    x, y = correlated(0, 100, 5, 0.0)
    assert mutual_neighbours(x, 3 * x @ rotation(1, 5), draws=20).value == 1
    values = [mutual_neighbours(*correlated(s, 100, 5, 0.0), seed=s, draws=20).value for s in range(10)]
    assert np.mean(values) == pytest.approx(10 / 99, abs=0.02)
    assert chance_level(100) == pytest.approx(10 / 99)
    # By hand, neighbours to both sides on half a circle and in another order of it.
    angles = np.linspace(0, 1.5, 12)
    line = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert mutual_neighbours(line, line[::-1], neighbours=1, draws=20).value < 1
    with pytest.raises(ValueError, match="between 1 and 50"):
        mutual_neighbours(x, y, neighbours=51)


def test_the_jackknife_is_that_of_leaving_out() -> None:
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in correlated(0, 25, 4, 0.8))
    without = []
    for left_out in range(25):
        rows = np.arange(25) != left_out
        without.append(_shared(_Nearest(x[rows], 3).near, _Nearest(y[rows], 3).near))
    plain = 24 / 25 * ((np.array(without) - np.mean(without)) ** 2).sum()
    assert _jackknife(_Nearest(x, 3), _Nearest(y, 3)) == pytest.approx(plain, rel=1e-9)


def test_held_out_predictions_are_those_of_refits() -> None:
    for shape in ((40, 3), (40, 90)):
        rng = np.random.default_rng(0)
        features, outcomes = rng.standard_normal(shape) + 3, rng.standard_normal((40, 2)) - 1
        fold, penalty = np.arange(40) % 4, 0.1
        found = held_out(Decomposed(features), outcomes, fold, penalty)
        # The penalty is relative to the features that a fit sees, so the refit is given the same absolute one.
        whole = float(((features - features.mean(axis=0)) ** 2).sum()) / 40
        for number in range(4):
            rest = features[fold != number]
            own = float(((rest - rest.mean(axis=0)) ** 2).sum()) / len(rest)
            fit = Ridge(Decomposed(rest), outcomes[fold != number], penalty * whole / own)
            np.testing.assert_allclose(found[fold == number], fit.predict(features[fold == number]), atol=1e-8)


def test_ridge_is_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    features, outcomes = rng.standard_normal((30, 5)), rng.standard_normal((30, 3))
    centred, shifted = features - features.mean(axis=0), outcomes - outcomes.mean(axis=0)
    weight = 0.2 * (centred**2).sum() / 30
    plain = np.linalg.solve(centred.T @ centred + weight * np.eye(5), centred.T @ shifted)
    found = Ridge(Decomposed(features), outcomes, 0.2).predict(features)
    np.testing.assert_allclose(found, centred @ plain + outcomes.mean(axis=0), atol=1e-10)


def test_the_penalty_suits_the_noise() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((100, 50))
    signal, noise = features @ rng.standard_normal((50, 1)), 30 * rng.standard_normal((100, 1))
    fold = np.arange(100) % 5
    penalties = [choose_penalty(Decomposed(features), outcome, fold)[0] for outcome in (signal, signal + noise)]
    assert penalties[0] < penalties[1]


def test_r2_of_a_linear_model() -> None:
    found = [ridge_r2(*correlated(seed, 400, 6, 0.7), seed=seed) for seed in range(8)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.49, abs=0.025)
    assert sum(each.low <= 0.48 <= each.high for each in found) >= 6
    assert max(each.high - each.low for each in found) < 0.2


def test_r2_with_far_more_dimensions_than_items() -> None:
    # Three latent variables behind 512 noisy features: the ridge finds them. Noise alone gives nothing.
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((200, 3))
    y = latent @ rng.standard_normal((3, 512)) + rng.standard_normal((200, 512))
    x = latent @ rng.standard_normal((3, 40))
    assert ridge_r2(x, y).value > 0.95
    assert abs(ridge_r2(x[rng.permutation(200)], y).value) < 0.03


def test_predictions_do_not_see_the_held_out_group() -> None:
    x, y = correlated(0, 60, 4, 0.9)
    groups = np.arange(60) // 3
    fit = cross_fit(y, x, groups, seed=3)
    assert all(len(set(fit.fold[groups == group])) == 1 for group in range(20))
    changed = x.copy()
    changed[groups == 7] += 100
    again = cross_fit(y, changed, groups, seed=3)
    same = fit.fold == fit.fold[groups == 7][0]
    np.testing.assert_allclose(again.predicted[same], fit.predicted[same], atol=1e-6)
    assert np.abs(again.predicted[~same] - fit.predicted[~same]).max() > 0.1
    np.testing.assert_array_equal(out_of_fold(y, x, groups, 3), fit.predicted)


def test_cca_of_known_correlations() -> None:
    found = [canonical_correlation(*correlated(s, 400, 6, 0.7), components=6, seed=s) for s in range(8)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.7, abs=0.02)
    assert sum(each.low <= 0.69 <= each.high for each in found) >= 6
    # It does not care for linear maps, as CKA does.
    x, y = correlated(0, 400, 6, 0.7)
    bent = y @ (rotation(0, 6) * np.array([5.0, 1, 1, 1, 1, 0.2]))
    assert canonical_correlation(x, bent, components=6).value == pytest.approx(0.69, abs=0.05)


def test_cca_of_independent_spaces_with_more_dimensions_than_items() -> None:
    found = [canonical_correlation(*correlated(seed, 60, 200, 0.0), seed=seed, draws=60) for seed in range(8)]
    assert abs(np.mean([each.value for each in found])) < 0.06
    assert sum(each.p_value is not None and each.p_value < 0.05 for each in found) <= 2


def test_retrieval_of_partners() -> None:
    perfect = retrieval(*correlated(0, 200, 16, 1.0))
    assert perfect["retrieval_r1"].value == 1
    assert perfect["retrieval_auc"].value == 1
    assert perfect["retrieval_r1"].low < 1
    half = retrieval(*correlated(0, 200, 16, 0.6))
    assert half["retrieval_r1"].value < half["retrieval_auc"].value < 1
    assert half["retrieval_auc"].p_value == pytest.approx(2 / 201)


def test_retrieval_by_chance() -> None:
    found = [retrieval(*correlated(seed, 100, 8, 0.0), seed=seed, draws=60) for seed in range(12)]
    assert np.mean([each["retrieval_auc"].value for each in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([each["retrieval_r1"].value for each in found]) == pytest.approx(1 / 20, abs=0.03)
    assert sum((each["retrieval_auc"].p_value or 0) < 0.05 for each in found) <= 2


def test_r1_falls_with_the_gallery_and_the_auc_does_not() -> None:
    small, large = (retrieval(*correlated(1, count, 4, 0.7)) for count in (60, 600))
    assert large["retrieval_r1"].value < 0.6 * small["retrieval_r1"].value
    assert large["retrieval_auc"].value == pytest.approx(small["retrieval_auc"].value, abs=0.06)


def test_a_constant_side_is_an_error() -> None:
    x, _ = correlated(0, 40, 3, 0.0)
    with pytest.raises(ValueError, match="all source vectors are the same"):
        ridge_r2(np.ones((40, 3)), x)
    with pytest.raises(ValueError, match="all target vectors are the same"):
        kernel_alignment(x, np.ones((40, 3)))
