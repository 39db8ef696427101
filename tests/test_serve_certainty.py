"""Whether what the server says of its own certainty is true."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from crossdistill.serve.answer import _partner_sure
from crossdistill.serve.certainty import Familiarity, PartnerCertainty, calibrate, percent
from crossdistill.serve.student import Student


def cases(
    count: int, strength: float, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-strength * features[:, 0]))
    return features, rng.random(count) < chance, np.arange(count) // 2


def test_calibration_finds_the_probability_behind_the_cases() -> None:
    found = calibrate(*cases(2000, 2.0))
    assert found is not None
    assert found.informative
    assert found.error < 0.03
    for value in (-1.0, 0.0, 1.0):
        assert found.probability(np.array([value, 0.0])) == pytest.approx(1 / (1 + np.exp(-2 * value)), abs=0.05)


def test_scores_that_tell_nothing_give_the_plain_rate() -> None:
    features, right, groups = cases(400, 0.0, seed=3)
    found = calibrate(features, right, groups)
    assert found is not None
    assert not found.informative
    assert found.error is None  # of the folds it would be, and of nothing else
    assert not found.one_sided
    assert found.probability(np.array([9.0, 9.0])) == found.rate == pytest.approx((right.sum() + 1) / 402)


def test_nothing_is_promised_of_few_cases() -> None:
    features, right, groups = cases(400, 5.0)
    assert calibrate(features[:29], right[:29], groups[:29]) is None
    assert calibrate(features, right, groups // 50) is None
    never = calibrate(features, np.zeros(400, dtype=bool), groups)
    assert never is not None
    assert (never.informative, never.probability(features[0])) == (False, 1 / 402)
    assert never.error is None  # nothing was measured
    assert never.one_sided
    sure = calibrate(np.where(right, 50.0, -50.0)[:, None] + features, right, groups)
    assert sure is not None
    assert sure.probability(np.array([50.0, 50.0])) <= 1 - 1 / 402
    assert [percent(share) for share in (0, 0.004, 0.5, 0.994, 1)] == ["under 1%", "under 1%", "50%", "99%", "over 99%"]


def test_partner_certainty_without_held_out_pairs_is_unknown() -> None:
    empty = PartnerCertainty(np.empty((0, 1), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    assert empty.within(5) is None


def test_familiarity_is_the_share_of_held_out_items_no_nearer() -> None:
    known = Familiarity(np.linspace(0.5, 0.99, 50, dtype=np.float32))
    assert known.share(0.4) == 0
    assert known.share(1.0) == 1
    assert known.share(0.745) == 0.5
    assert known.strange(0.0)
    assert not known.strange(0.5)
    assert Familiarity(np.ones(5, np.float32)).share(0.3) is None


@pytest.mark.parametrize(
    ("right", "meaning"),
    [(np.arange(40) < 4, "too few were right to tell"), (np.arange(40) > 3, "too few were wrong to tell"),
     (np.arange(40) % 2 == 0, "similarities did not tell which")],
)  # fmt: skip
def test_why_the_plain_rate_is_told(right: NDArray[np.bool_], meaning: str) -> None:
    """Each reason is another one, and none claims an error of 0."""
    partners = PartnerCertainty(
        np.random.default_rng(0).random((40, 3), dtype=np.float32), np.where(right, 1, 99), np.arange(40)
    )
    shelf = SimpleNamespace(gallery=type("Own", (), {"own": True, "__len__": lambda self: 40})())
    student = SimpleNamespace(partners={"target": partners}, shelf=lambda side: shelf)
    told = _partner_sure(cast(Student, student), "target", 5, np.ones((1, 3), dtype=np.float32))
    assert meaning in told.meaning
    assert told.error is None
    assert not told.informative
