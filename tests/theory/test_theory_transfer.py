"""From distances to tasks: nearest-neighbour rules on exact fractions, margin classifiers on any vectors."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from theory_loops import Floats, embeddings, fraction_pair, tv_exact

from crossdistill.theory import (
    PairedVectors,
    compare_similarities,
    coupling_shift,
    expected_loss,
    margin_lipschitz,
    margin_shift,
    margins,
    ramp,
    total_variation,
    transferred_error,
    vote_error_bound,
    vote_error_certificate,
    vote_margin,
)

ROUNDING = 1e-12


class TestNearestNeighbourRules:
    @given(pair=fraction_pair(), seed=st.integers(0, 2**32 - 1))
    def test_any_loss_in_exact_arithmetic(self, pair: tuple[list[Fraction], list[Fraction]], seed: int) -> None:
        p, q = pair
        rng = np.random.default_rng(seed)
        losses = [Fraction(int(each), 8) for each in rng.integers(0, 9, len(p))]
        a, b = (sum((w * each for w, each in zip(row, losses, strict=True)), start=Fraction(0)) for row in pair)
        assert abs(a - b) <= tv_exact(p, q)
        floats = np.array([[float(each) for each in row] for row in pair])
        found = expected_loss(floats, np.array([[float(each) for each in losses]] * 2))
        assert found.tolist() == pytest.approx([float(a), float(b)], abs=1e-15)
        assert float(transferred_error(found[:1], total_variation(*floats)[None])[0]) >= float(b) - ROUNDING

    @given(pair=fraction_pair())
    def test_exactly_for_the_event_where_p_exceeds_q(self, pair: tuple[list[Fraction], list[Fraction]]) -> None:
        p, q = pair
        losses = [int(b > a) for a, b in zip(p, q, strict=True)]
        a, b = (sum((w for w, wrong in zip(row, losses, strict=True) if wrong), start=Fraction(0)) for row in pair)
        assert b - a == tv_exact(p, q)

    @given(pair=fraction_pair(), seed=st.integers(0, 2**32 - 1))
    def test_hard_votes_in_exact_arithmetic(self, pair: tuple[list[Fraction], list[Fraction]], seed: int) -> None:
        labels = np.random.default_rng(seed).integers(0, 3, len(pair[0])).tolist()

        def margin(row: list[Fraction]) -> Fraction:
            votes = [sum((w for w, y in zip(row, labels, strict=True) if y == c), start=Fraction(0)) for c in range(3)]
            return votes[0] - max(votes[1:])

        assert abs(margin(pair[0]) - margin(pair[1])) <= 2 * tv_exact(*pair)
        if margin(pair[0]) > 2 * tv_exact(*pair):
            assert margin(pair[1]) > 0
        floats = np.array([[float(each) for each in row] for row in pair])
        expected = [float(margin(row)) for row in pair]
        assert vote_margin(floats, labels, [0, 0]).tolist() == pytest.approx(expected, abs=1e-15)

    def test_a_hard_vote_flips_at_twice_the_distance_and_not_before(self) -> None:
        for shift in (Fraction(1, 8), Fraction(1, 3)):
            p = np.array([[0.5 + float(shift), 0.5 - float(shift)]])
            tie = vote_margin(
                [[0.5, 0.5]], [0, 1], [0]
            )  # TV = shift, margin_A = 2 shift: the target ties, which is wrong
            assert tie[0] == 0
            assert vote_error_certificate(vote_margin(p, [0, 1], [0]), [float(shift)]).tolist() == [1.0]
            assert vote_error_certificate(vote_margin(p, [0, 1], [0]), [float(shift) - 1e-9]).tolist() == [0.0]

    @given(case=embeddings(), gamma=st.floats(0.01, 1))
    @settings(max_examples=150, deadline=None)
    def test_on_embeddings(self, case: tuple[Floats, Floats, float], gamma: float) -> None:
        source, target, tau = case
        labels = np.arange(len(source)) % 3
        found = compare_similarities(PairedVectors.of(source, target, labels=labels), temperature=tau)
        assert found.error_source is not None
        assert found.error_target is not None
        assert found.margin_source is not None
        assert found.margin_target is not None
        assert (np.abs(found.error_target - found.error_source) <= found.tv + ROUNDING).all()
        assert found.error_target.mean() <= transferred_error(found.error_source, found.tv).mean() + ROUNDING
        certain = vote_error_certificate(found.margin_source, found.tv + 1e-13)
        wrong = found.margin_target <= 0
        assert (wrong <= certain).all()
        assert wrong.mean() <= vote_error_bound(found.margin_source, float(found.tv.mean()), gamma) + ROUNDING
        assert wrong.mean() <= 2 * found.error_target.mean() + ROUNDING

    def test_the_bound_of_hard_votes_by_the_mean_distance_in_numbers(self) -> None:
        assert vote_error_bound([0.1, 0.3, 0.9, 1.0], 0.02, 0.3) == pytest.approx(0.5 + 0.04 / 0.3)
        assert vote_error_bound([0.1], 0.5, 0.3) == 1.0

    def test_soft_labels(self) -> None:
        own, others = np.array([[0.7, 0.3]]), np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
        loss = expected_loss([[0.2, 0.3, 0.5]], 1 - own @ others.T)
        assert loss.tolist() == pytest.approx([0.2 * 0.3 + 0.3 * 0.7 + 0.5 * 0.5])

    def test_refuse_what_is_no_loss(self) -> None:
        for wrong in (1.5, -0.5, math.nan):
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                expected_loss([[1.0]], [[wrong]])
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                transferred_error([0.5], [wrong])
        with pytest.raises(ValueError, match="twice"):
            expected_loss([[1.0]], [[0.5, 0.5]])
        with pytest.raises(ValueError, match="one shape"):
            vote_error_certificate([0.5], [0.5, 0.5])


class TestMarginClassifiers:
    @given(
        seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 6), gamma=st.floats(0.01, 10), size=st.floats(1e-6, 10)
    )
    @settings(max_examples=300, deadline=None)
    def test_transfer(self, seed: int, classes: int, gamma: float, size: float) -> None:
        rng = np.random.default_rng(seed)
        weights, bias = rng.normal(size=(classes, 4)), rng.normal(size=classes)
        source = rng.normal(size=(30, 4))
        target = source + size * rng.normal(size=source.shape)
        labels = rng.integers(0, classes, 30)
        errors = np.sqrt(((target - source) ** 2).sum(axis=1))
        lipschitz = margin_lipschitz(weights)
        a, b = (margins(rows @ weights.T + bias, labels) for rows in (source, target))
        assert (np.abs(a - b) <= lipschitz * errors + 1e-9).all()
        shift = margin_shift(errors, lipschitz, gamma)
        assert ((b <= 0) <= ramp(a, gamma) + shift + 1e-9).all()
        assert (b <= 0).mean() <= ramp(a, gamma).mean() + lipschitz / gamma * errors.mean() + 1e-9
        matched = coupling_shift(
            source, target, lipschitz=lipschitz, gamma=gamma, source_labels=labels, target_labels=labels
        )
        assert matched <= shift.mean() + ROUNDING
        shuffled = rng.permutation(30)  # without pairs the bound is still one
        apart = coupling_shift(
            source, target[shuffled], lipschitz=lipschitz, gamma=gamma,
            source_labels=labels, target_labels=labels[shuffled],
        )  # fmt: skip
        assert apart == pytest.approx(matched, abs=1e-12)
        assert (b <= 0).mean() <= ramp(a, gamma).mean() + matched + 1e-9

    def test_exactly_when_the_pair_crosses_the_margin(self) -> None:
        weights, gamma = np.array([[1.5, 0.0], [-1.5, 0.0]]), 0.6
        lipschitz = margin_lipschitz(weights)
        assert lipschitz == 3.0
        source, target = np.array([[0.2, 0.0]]), np.array([[0.0, 0.0]])
        a, b = (margins(rows @ weights.T, [0]) for rows in (source, target))
        assert ramp(a, gamma).tolist() == [0.0]
        assert (b <= 0).tolist() == [True]
        assert margin_shift([0.2], lipschitz, gamma).tolist() == [pytest.approx(1.0)]

    def test_the_constant_needs_the_difference_of_weights(self) -> None:
        assert margin_lipschitz([[1.0, 0], [1.0, 0], [1.0, 1.0]]) == pytest.approx(1.0)

    def test_ramp_in_numbers(self) -> None:
        assert ramp([-1.0, 0.0, 0.5, 2.0, 3.0], 2.0).tolist() == [1.0, 1.0, 0.75, 0.0, 0.0]

    def test_margins_against_loops(self) -> None:
        rng = np.random.default_rng(0)
        scores, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
        expected = [s[y] - max(s[c] for c in range(4) if c != y) for s, y in zip(scores, labels, strict=True)]
        assert margins(scores, labels).tolist() == expected

    def test_matching_labels_cost_one_when_they_differ(self) -> None:
        rows = np.zeros((2, 1))
        settings_ = {"lipschitz": 1.0, "gamma": 1.0}
        assert coupling_shift(rows, rows, **settings_, source_labels=[0, 1], target_labels=[0, 0]) == 0.5
        assert coupling_shift(rows, rows, **settings_) == 0.0
        assert coupling_shift(rows, rows + 0.25, **settings_) == pytest.approx(0.25)

    @given(pair=fraction_pair(), seed=st.integers(0, 2**32 - 1))
    def test_latent_distributions_in_exact_arithmetic(
        self, pair: tuple[list[Fraction], list[Fraction]], seed: int
    ) -> None:
        """The paper's form: cells of one (vector, label) space, a 0-1 loss of a classifier on each."""
        wrong = np.random.default_rng(seed).integers(0, 2, len(pair[0])).tolist()
        a, b = (sum((w for w, each in zip(row, wrong, strict=True) if each), start=Fraction(0)) for row in pair)
        assert b <= a + tv_exact(*pair)

    def test_refuse_what_does_not_fit(self) -> None:
        for call in (
            lambda: margins(np.ones((2, 1)), [0, 0]),
            lambda: margins(np.ones((2, 3)), [0, 3]),
            lambda: margins(np.ones((2, 3)), [0]),
            lambda: margin_lipschitz([[1.0]]),
            lambda: ramp([1.0], 0.0),
            lambda: margin_shift([-1.0], 1.0, 1.0),
            lambda: coupling_shift(np.ones((2, 1)), np.ones((3, 1)), lipschitz=1.0, gamma=1.0),
            lambda: coupling_shift(np.ones((2, 1)), np.ones((2, 1)), lipschitz=1.0, gamma=1.0, source_labels=[0, 1]),
            lambda: vote_margin([1.0], [0], [0]),
        ):
            with pytest.raises(ValueError, match="expected"):
                call()
