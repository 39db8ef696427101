"""Total variation, divergences and the bounds between them, on exact fractions and on hard floats."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from theory_loops import Floats, float_pair, fraction_pair, kl_exact, softmax_row, tv_exact

from crossdistill.theory import (
    CROSSING,
    bretagnolle_huber,
    entropy,
    kl_certificate,
    kl_divergence,
    pinsker,
    softmax,
    softmax_kl,
    softmax_tv,
    total_variation,
)

ROUNDING = 1e-12


class TestQuantities:
    @given(pair=fraction_pair())
    def test_equal_exact_arithmetic(self, pair: tuple[list[Fraction], list[Fraction]]) -> None:
        p, q = pair
        floats = np.array([[float(each) for each in row] for row in pair])
        assert float(total_variation(*floats)) == pytest.approx(float(tv_exact(p, q)), abs=1e-15)
        assert float(kl_divergence(*floats)) == pytest.approx(kl_exact(p, q), rel=1e-9, abs=1e-15)
        plain = -math.fsum(float(each) * math.log(each) for each in p if each)
        assert float(entropy(floats[0])) == pytest.approx(plain, abs=1e-14)

    def test_a_divergence_of_nearly_equal_distributions_keeps_its_digits(self) -> None:
        for gap in (1e-3, 1e-6, 1e-9, 1e-12):
            p, q = np.array([0.5 + gap, 0.5 - gap]), np.array([0.5, 0.5])
            exact = kl_exact([Fraction(x) for x in p], [Fraction(1, 2)] * 2)
            series = 2 * gap**2 + 4 / 3 * gap**4  # the sum of logarithms is all rounding from 1e-9 on
            assert float(kl_divergence(p, q)) == pytest.approx(series, rel=2e-4)
            assert gap < 1e-4 or exact == pytest.approx(series, rel=1e-4)

    def test_rows_and_points_outside_the_support(self) -> None:
        p, q = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5, 0.5], [1.0, 0.0]])
        assert total_variation(p, q).tolist() == [0.5, 1.0]
        assert kl_divergence(p, q).tolist() == [pytest.approx(math.log(2)), math.inf]
        assert kl_divergence(q[0], p[0]) == math.inf
        assert entropy(q).tolist() == [pytest.approx(math.log(2)), 0.0]

    @pytest.mark.parametrize("wrong", [[0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [], 1.0])
    def test_refuse_what_is_no_distribution(self, wrong: object) -> None:
        with pytest.raises(ValueError, match="expected"):
            total_variation(np.asarray(wrong), np.asarray(wrong))

    def test_refuse_two_shapes(self) -> None:
        with pytest.raises(ValueError, match="one shape"):
            kl_divergence([1.0], [0.5, 0.5])

    def test_softmax(self) -> None:
        assert softmax([0.0, -math.inf, math.log(3)]).tolist() == pytest.approx([0.25, 0, 0.75])
        assert softmax([1e308, 1e308]).tolist() == [0.5, 0.5]
        for wrong in ([math.nan, 0.0], [-math.inf], [math.inf, 0.0]):
            with pytest.raises(ValueError, match="finite"):
                softmax(wrong)


class TestDivergenceBoundsTotalVariation:
    @given(pair=float_pair())
    @settings(max_examples=400, deadline=None)
    def test_pinsker_and_bretagnolle_huber(self, pair: tuple[Floats, Floats]) -> None:
        tv, kl = float(total_variation(*pair)), float(kl_divergence(*pair))
        assert tv <= pinsker(kl) + ROUNDING
        assert tv <= bretagnolle_huber(kl) + ROUNDING
        assert kl_certificate(kl) == min(pinsker(kl), bretagnolle_huber(kl))

    @given(pair=fraction_pair())
    def test_and_on_exact_fractions(self, pair: tuple[list[Fraction], list[Fraction]]) -> None:
        tv, kl = float(tv_exact(*pair)), kl_exact(*pair)
        assert tv <= pinsker(kl) + ROUNDING
        assert tv <= bretagnolle_huber(kl) + ROUNDING
        # The middle of the proof: (1 - TV)(1 + TV) >= BC^2 >= exp(-KL).
        affinity = math.fsum(math.sqrt(a * b) for a, b in zip(*pair, strict=True))
        assert (1 - tv) * (1 + tv) >= affinity**2 - ROUNDING
        assert affinity**2 >= math.exp(-kl) - ROUNDING

    @given(values=st.lists(st.floats(0, 50), min_size=1, max_size=8))
    def test_jensen_for_means(self, values: list[float]) -> None:
        rows = np.array(values)
        for bound in (pinsker, bretagnolle_huber, kl_certificate):
            assert bound(rows).mean() <= bound(float(rows.mean())) + ROUNDING

    def test_are_tight_where_they_should_be(self) -> None:
        for gap in (1e-2, 1e-4):  # Pinsker: two points, as the distance goes to zero
            p, q = np.array([0.5 + gap, 0.5 - gap]), np.array([0.5, 0.5])
            assert 1 <= pinsker(float(kl_divergence(p, q))) / float(total_variation(p, q)) <= 1 + gap**2
        for rest in (1e-3, 1e-6):  # Bretagnolle and Huber: a point mass, as the distance goes to one
            p, q = np.array([1.0, 0.0]), np.array([rest, 1 - rest])
            assert 1 <= bretagnolle_huber(float(kl_divergence(p, q))) / float(total_variation(p, q)) <= 1 + rest

    def test_cross_at_1_594(self) -> None:
        assert pytest.approx(1.59362, abs=1e-5) == CROSSING
        assert pinsker(CROSSING) == pytest.approx(bretagnolle_huber(CROSSING), abs=1e-15)
        assert pinsker(CROSSING - 0.01) < bretagnolle_huber(CROSSING - 0.01)
        assert pinsker(CROSSING + 0.01) > bretagnolle_huber(CROSSING + 0.01)
        assert kl_certificate(50.0) == bretagnolle_huber(50.0)
        assert pinsker(2.0) == pinsker(math.inf) == bretagnolle_huber(math.inf) == 1

    def test_arrays_stay_arrays_and_rounding_below_zero_is_zero(self) -> None:
        assert pinsker(np.array([-1e-8, 0.5])).tolist() == [0.0, 0.5]
        assert isinstance(pinsker(0.5), float)
        for bound in (pinsker, bretagnolle_huber, kl_certificate, softmax_tv, softmax_kl):
            for wrong in (-0.1, math.nan):
                with pytest.raises(ValueError, match=">= 0"):
                    bound(wrong)


class TestLogitsBoundTotalVariation:
    @given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 20), delta=st.floats(1e-9, 20), shift=st.floats(-5, 5))
    @settings(max_examples=300, deadline=None)
    def test_of_softmaxes(self, seed: int, size: int, delta: float, shift: float) -> None:
        rng = np.random.default_rng(seed)
        a = rng.normal(size=size) * rng.choice([0.1, 1, 10])
        change = rng.uniform(-delta, delta, size) if seed % 2 else rng.choice([-delta, delta], size)
        p, q = softmax(a), softmax(a + change + shift)  # a common shift changes nothing
        assert float(total_variation(p, q)) <= softmax_tv(delta) + ROUNDING
        assert float(kl_divergence(p, q)) <= softmax_kl(delta) + ROUNDING
        assert softmax_tv(delta) <= delta / 2
        assert float(total_variation(p, q)) <= pinsker(softmax_kl(delta)) + ROUNDING

    @pytest.mark.parametrize("delta", [1e-6, 0.3, 2.0, 15.0])
    def test_exactly_for_two_candidates(self, delta: float) -> None:
        p, q = softmax_row([-delta / 2, delta / 2]), softmax_row([delta / 2, -delta / 2])
        assert float(total_variation(p, q)) == pytest.approx(softmax_tv(delta), rel=1e-9)

    def test_divergence_in_the_limit(self) -> None:
        delta = 1e-3
        p, q = softmax_row([-delta / 2, delta / 2]), softmax_row([delta / 2, -delta / 2])
        assert float(kl_divergence(p, q)) == pytest.approx(softmax_kl(delta), rel=1e-5)
