"""All estimators together: groups, seeds, intervals, errors and what is handed on."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from tests.distance.cases import Floats, correlated

from crossdistill.distance import Measured, cross_fit, paired_distances, shared_distances
from crossdistill.distance.measured import folds_p, half_masks, permutation_p
from crossdistill.distance.samples import folds, one_per_group, two_samples

PAIRED = {
    "cca", "ridge_r2", "retrieval_r1", "retrieval_auc", "linear_cka", "rbf_cka", "mutual_neighbours",
    "effective_rank_source", "effective_rank_target",
}  # fmt: skip
SHARED = {
    "total_variation", "a_distance", "mmd", "mmd_multi", "sliced_wasserstein", "sinkhorn", "modality_gap",
    "cone_source", "cone_target", "alignment", "uniformity_source", "uniformity_target",
}  # fmt: skip


def everything(x: Floats, y: Floats, groups: object = None, seed: int = 0, draws: int = 60) -> dict[str, Measured]:
    return {**paired_distances(x, y, groups, seed, draws), **shared_distances(x, y, groups, seed, draws)}


def test_names_and_json() -> None:
    x, y = correlated(0, 60, 5, 0.6)
    found = everything(x, y)
    assert set(found) == PAIRED | SHARED
    for name, each in found.items():
        assert each.name == name
        assert each.low <= each.value <= each.high
        assert each.items == 60
        written = json.loads(json.dumps(each.to_json()))
        assert written["value"] == pytest.approx(each.value, rel=1e-5, abs=1e-12)
        assert set(written) == {
            "name", "value", "low", "high", "level", "interval", "p_value", "farther", "items", "note"
        }  # fmt: skip
    assert set(shared_distances(x, y, draws=20, transport=False)) == SHARED - {"sliced_wasserstein", "sinkhorn"}


def test_two_spaces_of_different_dimensions() -> None:
    x, y = correlated(0, 60, 6, 0.6)
    found = paired_distances(x, y[:, :4], draws=20)
    assert found["effective_rank_source"].value > 4 > found["effective_rank_target"].value
    with pytest.raises(ValueError, match="not one space"):
        shared_distances(x, y[:, :4])


def test_the_seed_decides() -> None:
    x, y = correlated(0, 50, 4, 0.6)
    first = everything(x, y, seed=1, draws=40)
    assert first == everything(x.copy(), y.copy(), seed=1, draws=40)
    other = everything(x, y, seed=2, draws=40)
    assert [name for name in first if first[name] == other[name]] in ([], ["mutual_neighbours"])


def test_a_fit_at_hand_is_used() -> None:
    x, y = correlated(0, 50, 4, 0.6)
    plain = paired_distances(x, y, draws=20, seed=5)
    assert paired_distances(x, y, draws=20, seed=5, fit=cross_fit(y, x, seed=5)) == plain
    poor = cross_fit(np.roll(y, 1, axis=0), x, seed=5)
    assert paired_distances(x, y, draws=20, seed=5, fit=poor)["ridge_r2"].value < plain["ridge_r2"].value - 0.1


def test_copies_in_groups_are_no_evidence() -> None:
    # Every pair four times: intervals stay as wide, where items on their own would halve them.
    x, y = correlated(0, 60, 4, 0.6)
    groups = np.repeat(np.arange(60), 4)
    once, four = everything(x, y, draws=150), everything(x[groups], y[groups], groups, draws=150)
    for name in PAIRED | SHARED:
        widths = [each[name].high - each[name].low for each in (once, four)]
        assert widths[1] > 0.7 * widths[0], name
    shrunk = everything(x[groups], y[groups], draws=150)
    narrower = [n for n in once if shrunk[n].high - shrunk[n].low < 0.7 * (once[n].high - once[n].low)]
    assert len(narrower) > 10


def test_duplicate_values_do_not_change_with_groups() -> None:
    x, y = correlated(0, 60, 4, 0.6)
    groups = np.repeat(np.arange(60), 3)
    once, three = everything(x, y, draws=20), everything(x[groups], y[groups], groups, draws=20)
    for name in ("alignment", "linear_cka", "mutual_neighbours", "cone_source", "effective_rank_source"):
        assert three[name].value == pytest.approx(once[name].value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("survey", [paired_distances, shared_distances])
def test_mistakes_are_told(survey: Callable[..., dict[str, Measured]]) -> None:
    x, y = correlated(0, 40, 3, 0.5)
    with pytest.raises(ValueError, match="40 source and 39 target items are no pairs"):
        survey(x, y[:39])
    with pytest.raises(ValueError, match="table"):
        survey(x[0], y[0])
    with pytest.raises(ValueError, match="at least 10"):
        survey(x, y, np.arange(40) // 5)
    with pytest.raises(ValueError, match="one for each of 40 items"):
        survey(x, y, np.arange(39))
    y[3, 1] = np.nan
    with pytest.raises(ValueError, match="target has 1 rows that are not finite"):
        survey(x, y)


def test_groups_of_unpaired_samples() -> None:
    x, y = correlated(0, 40, 3, 0.5)
    with pytest.raises(ValueError, match="on both sides"):
        two_samples(x, y, np.arange(40), np.arange(40))
    with pytest.raises(ValueError, match="groups are needed"):
        two_samples(x, y, None, np.arange(40))
    found = two_samples(x, y[:20], list(range(40)), [f"{i}" for i in range(100, 120)])
    assert (found.count, found.paired, found.items) == (60, False, 60)
    assert [len(each) for each in found.strata] == [40, 20]


def test_an_interval_without_its_value_is_refused() -> None:
    with pytest.raises(ValueError, match="not in its interval"):
        Measured(name="x", value=2, low=0, high=1, interval="bootstrap", farther="higher", items=3, note="")
    with pytest.raises(ValueError, match="nan"):
        Measured(name="x", value=float("nan"), low=0, high=1, interval="bootstrap", farther="higher", items=3, note="")


def test_halves_have_the_spread_of_the_mean() -> None:
    values = np.random.default_rng(0).standard_normal(101)
    masks, factor = half_masks([np.arange(101)], 4000, np.random.default_rng(1))
    drawn = np.array([values[mask].mean() for mask in masks])
    assert drawn.var() * factor == pytest.approx(values.var(ddof=1) / 101, rel=0.08)


def test_folds_keep_groups_and_balance() -> None:
    groups = np.array([7] * 10 + list(range(100, 140)))
    found = folds(groups, 5, np.random.default_rng(0))
    assert len(set(found[:10])) == 1
    assert np.bincount(found).tolist() == [10] * 5
    rows = one_per_group(groups, np.random.default_rng(0))
    assert sorted(groups[rows]) == [7, *range(100, 140)]
    assert {int(one_per_group(groups, np.random.default_rng(s))[0]) for s in range(60)} == set(range(10))


def test_p_values() -> None:
    assert permutation_p(3.0, np.array([1.0, 2.0, 3.0])) == 0.5
    assert permutation_p(4.0, np.array([1.0, 2.0, 3.0])) == 0.25
    assert folds_p([0.01, 0.03]) == pytest.approx(0.04)
    assert folds_p([0.9, 0.9]) == 1
