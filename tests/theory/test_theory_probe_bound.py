"""Rademacher complexities against enumeration of all signs, and certificates against known risks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from theory_loops import Floats, unit

from crossdistill.theory import (
    held_out_certificate,
    linear_rademacher,
    margins,
    rademacher_certificate,
    ramp,
    ramp_rademacher,
    simulated_rademacher,
)


def all_signs(count: int) -> Floats:
    return np.array(list(itertools.product((-1.0, 1.0), repeat=count)))


class TestComplexity:
    @given(
        seed=st.integers(0, 2**32 - 1), items=st.integers(1, 5), classes=st.integers(1, 2), norm=st.floats(0.01, 100)
    )
    @settings(max_examples=60, deadline=None)
    def test_closed_form_bounds_the_enumeration(self, seed: int, items: int, classes: int, norm: float) -> None:
        rows = np.random.default_rng(seed).normal(size=(items, 3))
        signs = all_signs(items * classes).reshape(-1, classes, items)
        exact = norm * float(np.sqrt(((signs @ rows) ** 2).sum(axis=(1, 2))).mean()) / items
        assert exact <= linear_rademacher(rows, norm, classes) * (1 + 1e-12)
        assert linear_rademacher(rows, norm, classes) <= math.sqrt(2) * exact * (1 + 1e-12)  # Khintchine, the other way
        found, error = simulated_rademacher(rows, norm, classes, draws=400, seed=seed)
        assert abs(found - exact) <= 6 * error + 1e-9 * exact

    def test_exactly_for_orthogonal_features(self) -> None:
        rows = np.eye(6)[:4] * np.array([[1.0], [2.0], [0.5], [1.0]])
        found, error = simulated_rademacher(rows, 3.0, draws=10)
        assert error < 1e-12
        assert found == pytest.approx(linear_rademacher(rows, 3.0), rel=1e-12)
        assert found == pytest.approx(3 * math.sqrt(1 + 4 + 0.25 + 1) / 4)

    def test_monte_carlo_on_many_features(self) -> None:
        rows = unit(np.random.default_rng(0).normal(size=(200, 20)))
        for classes in (1, 5):
            found, error = simulated_rademacher(rows, 2.0, classes, draws=500)
            bound = linear_rademacher(rows, 2.0, classes)
            assert bound == pytest.approx(2 * math.sqrt(classes / 200))
            assert 0.97 * bound < found <= bound + 3 * error  # true for these nearly isotropic features

    @given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 4), gamma=st.floats(0.05, 5), norm=st.floats(0.1, 10))
    @settings(max_examples=60, deadline=None)
    def test_of_ramp_losses_over_a_finite_part_of_the_class(
        self, seed: int, classes: int, gamma: float, norm: float
    ) -> None:
        """A supremum over some of the weights is at most that over all, which the closed form bounds."""
        rng = np.random.default_rng(seed)
        rows, labels = rng.normal(size=(6, 2)), rng.integers(0, classes, 6)
        weights = rng.normal(size=(200, classes, 2))
        weights *= norm / np.sqrt((weights**2).sum(axis=(1, 2), keepdims=True))
        losses = np.stack([ramp(margins(rows @ each.T, labels), gamma) for each in weights])
        some = float((all_signs(6) @ losses.T).max(axis=1).mean()) / 6
        assert some <= ramp_rademacher(rows, norm / gamma, classes) + 1e-12

    def test_of_ramp_losses_comes_close_for_two_classes_and_one_item(self) -> None:
        # One item of length one, scores +-c: the margin covers all of [-sqrt(2) B, sqrt(2) B] as c varies, so that the
        # ramp's values cover [0, 1] for gamma = sqrt(2) B and the complexity is (1 - 0) / 2.
        bound = ramp_rademacher(np.array([[1.0]]), 1 / math.sqrt(2), 2)
        losses = ramp(np.linspace(-1, 1, 101), 1.0)
        exact = float((all_signs(1) * losses).max(axis=1).mean())
        assert exact == pytest.approx(0.5)
        assert bound == pytest.approx(1.0)  # the closed form is twice that, as it does not know that the ramp is flat

    @given(seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=60, deadline=None)
    def test_vector_contraction_and_khintchine(self, seed: int) -> None:
        """The two lemmas of the proof, by enumeration: Maurer's contraction with sqrt(2), Khintchine's constant."""
        rng = np.random.default_rng(seed)
        count, outputs, functions = 3, 3, int(rng.integers(2, 8))
        values = rng.normal(size=(functions, count, outputs))
        labels = rng.integers(0, outputs, count)
        losses = np.stack([margins(each, labels) for each in values])  # sqrt(2)-Lipschitz in the outputs
        left = (all_signs(count) @ losses.T).max(axis=1).mean()
        right = (all_signs(count * outputs) @ values.reshape(functions, -1).T).max(axis=1).mean()
        assert left <= math.sqrt(2) * math.sqrt(2) * right + 1e-12
        vector = rng.normal(size=6)
        assert np.abs(all_signs(6) @ vector).mean() >= np.sqrt((vector**2).sum() / 2) - 1e-12

    def test_khintchine_is_tight_for_two_equal_numbers(self) -> None:
        assert np.abs(all_signs(2) @ np.ones(2)).mean() == pytest.approx(math.sqrt(2 / 2))

    def test_refuse_what_does_not_fit(self) -> None:
        for call in (
            lambda: linear_rademacher(np.ones(3), 1.0),
            lambda: linear_rademacher(np.ones((0, 3)), 1.0),
            lambda: linear_rademacher([[math.nan]], 1.0),
            lambda: linear_rademacher(np.ones((2, 3)), 0.0),
            lambda: linear_rademacher(np.ones((2, 3)), 1.0, 0),
            lambda: ramp_rademacher(np.ones((2, 3)), 1.0, 1),
            lambda: simulated_rademacher(np.ones((2, 3)), 1.0, draws=1),
        ):
            with pytest.raises(ValueError, match="expected"):
                call()


class TestRademacherCertificate:
    def easy(self, items: int, seed: int, noise: float = 0.0) -> tuple[Floats, np.ndarray]:  # type: ignore[type-arg]
        """Two directions, some labels flipped."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, items)
        rows = unit(np.stack([labels * 2.0 - 1, 0.3 * rng.normal(size=items)], axis=1))
        return rows, np.where(rng.random(items) < noise, 1 - labels, labels)

    def test_is_the_sum_in_numbers(self) -> None:
        rows, labels = np.array([[1.0, 0.0], [-1.0, 0.0]] * 50), np.array([0, 1] * 50)
        found = rademacher_certificate(rows, labels, [[1.0, 0.0], [-1.0, 0.0]], delta=0.1, norms=np.array([1.0, 2.0]))
        # |W|_F = sqrt(2), margins 2. B / gamma = 1: gamma = sqrt(2) < 2, so that no loss is left.
        assert found.norm_over_margin == 1.0
        assert found.margin == pytest.approx(math.sqrt(2))
        assert found.empirical == 0.0
        assert found.complexity == pytest.approx(2 * math.sqrt(2) * 1.0 / math.sqrt(100))
        assert found.deviation == pytest.approx(3 * math.sqrt(math.log(2 * 2 / 0.1) / 200))
        assert found.value == pytest.approx(found.empirical + found.complexity + found.deviation)
        three = rademacher_certificate(rows, labels, [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], norms=np.array([1.0]))
        assert three.complexity == pytest.approx(2 * 2 * math.sqrt(3 * 100) / 100)

    def test_does_not_change_with_scale_common_weights_or_the_bias_as_a_feature(self) -> None:
        rows, labels = self.easy(4000, 0, 0.1)
        weights, bias = np.array([[-1.0, 0.2], [1.0, 0.1]]), np.array([0.3, -0.1])
        found = rademacher_certificate(rows, labels, weights, bias)
        same = (
            rademacher_certificate(rows, labels, 7 * weights, 7 * bias),
            rademacher_certificate(rows, labels, weights + 50, bias - 9),
            rademacher_certificate(np.column_stack([rows, np.ones(4000)]), labels, np.column_stack([weights, bias])),
        )
        assert [each.value for each in same] == pytest.approx([found.value] * 3)
        assert found.complexity > rademacher_certificate(rows, labels, weights).complexity  # features are longer

    def test_union_over_norms_costs_its_logarithm_and_covers_all_of_them(self) -> None:
        rows, labels = self.easy(4000, 0)
        weights = [[-1.0, 0.0], [1.0, 0.0]]
        one = rademacher_certificate(rows, labels, weights, norms=np.array([1.0]))
        both = rademacher_certificate(rows, labels, weights, norms=np.array([1.0, 512.0]))
        assert both.norm_over_margin == 1.0
        assert both.value - one.value == pytest.approx(
            3 * (math.sqrt(math.log(4 / 0.05) / 8000) - math.sqrt(math.log(2 / 0.05) / 8000))
        )
        # A certificate for any fixed norm is also one for the grid's, at its part of delta.
        assert both.value == pytest.approx(
            rademacher_certificate(rows, labels, weights, norms=np.array([1.0]), delta=0.025).value
        )

    def test_says_when_it_says_nothing(self) -> None:
        weights = [[-1.0, 0.0], [1.0, 0.0]]
        found = rademacher_certificate(*self.easy(10, 0), weights)
        assert found.vacuous
        assert found.worse_than_guessing
        better = rademacher_certificate(*self.easy(200, 0), weights)
        assert 0.5 <= better.value < 1
        assert not better.vacuous
        assert better.worse_than_guessing
        good = rademacher_certificate(*self.easy(20_000, 0), weights)
        assert not good.worse_than_guessing
        assert good.to_json()["vacuous"] is False
        assert rademacher_certificate(*self.easy(20_000, 0), np.zeros((2, 2))).vacuous  # no margin at all

    def test_holds_for_probes_that_were_fitted_to_the_items(self) -> None:
        """Known risk: labels flip with probability 0.2, so no probe is below it. Fitted by picking the best of many."""
        holds = 0
        for seed in range(40):
            rows, labels = self.easy(1500, seed, 0.2)
            angles = np.linspace(0, 2 * np.pi, 50)
            losses = []
            for angle in angles:
                w = np.array([[-np.cos(angle), -np.sin(angle)], [np.cos(angle), np.sin(angle)]])
                losses.append(float((margins(rows @ w.T, labels) <= 0).mean()))
            angle = angles[int(np.argmin(losses))]
            w = np.array([[-np.cos(angle), -np.sin(angle)], [np.cos(angle), np.sin(angle)]])
            fresh, truth = self.easy(20_000, seed + 1000, 0.2)
            risk = float((margins(fresh @ w.T, truth) <= 0).mean())
            holds += rademacher_certificate(rows, labels, w).value >= risk
        assert holds == 40

    def test_refuses_what_does_not_fit(self) -> None:
        rows, labels = self.easy(5, 0)
        for call in (
            lambda: rademacher_certificate(rows, labels, np.ones((2, 3))),
            lambda: rademacher_certificate(rows, labels, np.ones((2, 2)), np.ones(3)),
            lambda: rademacher_certificate(rows * math.nan, labels, np.ones((2, 2))),
            lambda: rademacher_certificate(rows, labels, np.ones((2, 2)), delta=0.0),
            lambda: rademacher_certificate(rows, labels, np.ones((2, 2)), delta=1.0),
            lambda: rademacher_certificate(rows, labels + 2, np.ones((2, 2))),
        ):
            with pytest.raises(ValueError, match="expected"):
                call()


class TestHeldOutCertificate:
    @given(risk=st.floats(0.001, 0.999), items=st.integers(1, 60), delta=st.sampled_from([0.01, 0.05, 0.3]))
    @settings(max_examples=100, deadline=None)
    def test_covers_exactly(self, risk: float, items: int, delta: float) -> None:
        """The probability of all error counts whose limit lies below the risk, summed up: at most delta."""
        limits = [held_out_certificate(k, items, classes=5, delta=delta).value for k in range(items + 1)]
        missed = sum(float(binom.pmf(k, items, risk)) for k, limit in enumerate(limits) if limit < risk)
        assert missed <= delta + 1e-9

    def test_is_exact_and_tighter_than_hoeffding(self) -> None:
        found = held_out_certificate(0, 100, classes=10)
        assert found.value == pytest.approx(1 - 0.05 ** (1 / 100))  # (1 - risk)^100 = delta
        assert found.value < math.sqrt(math.log(20) / 200)
        assert held_out_certificate(0, 100, classes=10, students=5).value == pytest.approx(1 - 0.01 ** (1 / 100))
        for count in (7, 40):
            assert binom.cdf(count, 50, held_out_certificate(count, 50, classes=10).value) == pytest.approx(
                0.05, abs=1e-9
            )

    def test_flags(self) -> None:
        assert held_out_certificate(5, 5, classes=3).vacuous
        half = held_out_certificate(40, 100, classes=2)
        assert not half.vacuous
        assert half.value == pytest.approx(0.4871, abs=1e-3)
        assert not half.worse_than_guessing
        assert held_out_certificate(45, 100, classes=2).worse_than_guessing
        assert held_out_certificate(45, 100, classes=2).to_json()["worse_than_guessing"] is True

    def test_refuses_impossible_counts(self) -> None:
        for errors, items, students in ((-1, 3, 1), (4, 3, 1), (0, 0, 1), (1, 3, 0)):
            with pytest.raises(ValueError, match="expected"):
                held_out_certificate(errors, items, classes=2, students=students)
        with pytest.raises(ValueError, match="delta"):
            held_out_certificate(1, 3, classes=2, delta=1.5)
