"""The target's own temperature: what it is, and that both ways of computing it agree."""

from __future__ import annotations

import numpy as np
import pytest

from crossdistill.theory import PairedVectors, best_temperature, calibration, compare_similarities, theory_curve_point


def vectors(count: int = 60, width: int = 16, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(count, width))
    return source, source + noise * rng.normal(size=source.shape)


def distance(source: np.ndarray, target: np.ndarray, temperature: float, form: str = "to_teacher") -> float:
    pairs = PairedVectors.of(source, target)
    found = compare_similarities(pairs, temperature=temperature, source_temperature=0.1, form=form)  # type: ignore[arg-type]
    return float(found.tv.mean())


@pytest.mark.parametrize("form", ["within", "to_teacher"])
def test_no_other_temperature_is_closer(form: str) -> None:
    source, target = vectors()
    best = best_temperature(source, target, source_temperature=0.1, form=form)  # type: ignore[arg-type]
    least = distance(source, target, best, form)
    assert all(least <= distance(source, target, float(each), form) + 1e-3 for each in np.geomspace(0.03, 3, 80))
    assert least < distance(source, target, 0.1, form)  # a noisy target should be less sure than its teacher


def test_a_perfect_student_has_the_teachers_temperature() -> None:
    source, _ = vectors()
    assert best_temperature(source, source, source_temperature=0.1) == pytest.approx(0.1, rel=0.1)
    assert best_temperature(source, source, source_temperature=0.5) == pytest.approx(0.5, rel=0.1)


def test_an_ignorant_student_should_say_nothing() -> None:
    source, _ = vectors()
    strangers = np.random.default_rng(1).normal(size=source.shape)
    assert best_temperature(source, strangers, source_temperature=0.1) > 0.4


@pytest.mark.parametrize("form", ["within", "to_teacher"])
def test_small_and_large_sets_are_computed_alike(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = vectors()
    ids = np.arange(60) // 2
    found = best_temperature(source, target, source_temperature=0.1, ids=ids, form=form)  # type: ignore[arg-type]
    monkeypatch.setattr(calibration, "_SMALL", 10)
    assert best_temperature(source, target, source_temperature=0.1, ids=ids, form=form) == found  # type: ignore[arg-type]


def test_one_identity_is_refused() -> None:
    source, target = vectors(6)
    with pytest.raises(ValueError, match="identity"):
        best_temperature(source, target, source_temperature=0.1, ids=np.zeros(6, dtype=int))


def test_the_inequality_holds_at_either_temperature() -> None:
    source, target = vectors()
    labels = np.arange(60) % 3
    for temperature in (0.05, 0.2, 1.0):
        point = theory_curve_point(
            source, target, temperature=temperature, source_temperature=0.1, labels=labels, form="to_teacher"
        )
        assert point["theory_target_risk"] <= point["theory_bound"] + 1e-12
        assert point["theory_tv"] == pytest.approx(distance(source, target, temperature))
        assert point["theory_tv"] <= point["theory_certificate"] + 1e-12
