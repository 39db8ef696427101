"""The chains: sums of the right terms, and totals that cover a known risk as often as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from theory_loops import Floats

from crossdistill.theory import (
    Chain,
    PairedVectors,
    Term,
    best_gamma,
    compare_similarities,
    group_means,
    held_out_chain,
    held_out_kl_chain,
    hoeffding,
    kl_certificate,
    log_class_size,
    margin_lipschitz,
    margins,
    probe_chain,
    rademacher_certificate,
    training_chain,
    tv_limit,
    zero_shot_chain,
)

TERMS = ["source risk", "tv", "pair sample", "source sample", "label sample"]


def test_hoeffding_in_numbers() -> None:
    assert hoeffding(200, 0.05) == pytest.approx(math.sqrt(math.log(20) / 400))
    assert hoeffding(200, 0.05, log_choices=math.log(7)) == pytest.approx(math.sqrt(math.log(140) / 400))
    assert log_class_size(3) == pytest.approx(math.log(2**96))
    for wrong in ((0, 0.05, 0.0), (5, 0.0, 0.0), (5, 1.0, 0.0), (5, 0.05, -1.0), (5, 0.05, math.nan)):
        with pytest.raises(ValueError, match="expected"):
            hoeffding(*wrong[:2], log_choices=wrong[2])
    with pytest.raises(ValueError, match="expected"):
        log_class_size(0)


def test_group_means_weigh_groups_and_not_items() -> None:
    assert group_means([1.0, 0.0, 0.5, 0.5], [3, 9, 9, 9]).tolist() == [1.0, pytest.approx(1 / 3)]
    for wrong in (([], []), ([1.0], [1, 2])):
        with pytest.raises(ValueError, match="expected"):
            group_means(*wrong)


class TestSums:
    def check(self, chain: Chain) -> None:
        assert [term.name for term in chain.terms] == TERMS
        assert chain.total_certified == pytest.approx(sum(t.value for t in chain.terms if t.certified and t.value))
        assert not chain.term("source sample").certified
        assert chain.to_json()["not_certified"] == ["source sample"]
        assert chain.assumptions

    def test_held_out(self) -> None:
        error, tv, groups = [0.9, 0.2, 0.1, 0.0], [0.4, 0.1, 0.3, 0.1], [0, 1, 2, 2]
        chain = held_out_chain(error, tv, groups, delta=0.1, students=3, chance=0.5)
        self.check(chain)
        assert chain.term("source risk").value == pytest.approx((0.9 + 0.2 + 0.05) / 3)
        assert chain.term("pair sample").value == pytest.approx(math.sqrt(math.log(30) / 6))
        assert chain.total_certified - hoeffding(3, 0.1, log_choices=math.log(3)) == pytest.approx(
            (1.0 + 0.3 + (0.4 + 0.1) / 2) / 3  # the first is cut off at 1
        )
        assert chain.delta == 0.1
        assert chain.vacuous
        assert chain.worse_than_guessing is True
        assert tv_limit(tv, groups, delta=0.01, students=3) == 1.0
        assert tv_limit([0.1] * 400, range(400)) == pytest.approx(0.1 + hoeffding(400, 0.05))  # type: ignore[arg-type]

    def test_from_the_loss(self) -> None:
        error, kl, groups = np.full(300, 0.1), np.linspace(0, 0.04, 300), np.arange(300)
        chain = held_out_kl_chain(error, kl, groups)
        self.check(chain)
        assert chain.term("tv").value == kl_certificate(0.02) == pytest.approx(0.1)
        assert chain.total_certified == pytest.approx(0.2 + hoeffding(300, 0.05))
        assert not chain.vacuous
        assert chain.worse_than_guessing is None

    def test_training_pairs_are_certified_and_vacuous(self) -> None:
        error, tv, groups = np.zeros(1000), np.zeros(1000), np.arange(1000)
        chain = training_chain(error, tv, groups, parameters=11_000_000)
        self.check(chain)
        assert chain.total_certified == pytest.approx(math.sqrt((32 * 11e6 * math.log(2) + math.log(20)) / 2000))
        assert chain.total_certified > 300
        assert chain.vacuous
        small = training_chain(error, tv, groups, parameters=1, bits=8)  # 256 students
        assert small.total_certified == pytest.approx(hoeffding(1000, 0.05, log_choices=math.log(256)))
        assert not small.vacuous

    def test_zero_shot(self) -> None:
        margin, errors, groups = np.array([2.0, 0.5, -1.0]), np.array([0.1, 0.2, 0.3]), np.arange(3)
        chain = zero_shot_chain(margin, errors, groups, lipschitz=2.0, gamma=1.0, chance=0.9)
        self.check(chain)
        assert chain.term("source risk").value == pytest.approx(0.5)
        assert chain.term("tv").value == pytest.approx((0.2 + 0.4 + 0.0) / 3)
        assert best_gamma(margin, errors, groups, lipschitz=2.0, gammas=np.array([0.1, 0.5, 1.0, 9.0])) == 1.0
        with pytest.raises(ValueError, match="at least one"):
            best_gamma(margin, errors, groups, lipschitz=2.0, gammas=np.array([]))

    def test_zero_shot_from_the_classifiers_training_items(self) -> None:
        labels = np.arange(40_000) % 2
        rows = np.stack([labels * 2.0 - 1, np.zeros(40_000)], axis=1)
        weights = np.array([[-1.0, 0.0], [1.0, 0.0]])
        probe = rademacher_certificate(rows, labels, weights, delta=0.02)
        errors = np.full(1000, 0.1)
        chain = probe_chain(probe, errors, np.arange(1000), lipschitz=margin_lipschitz(weights), delta=0.03)
        self.check(chain)
        assert chain.delta == pytest.approx(0.05)
        shift = 2.0 * 0.1 / probe.margin
        assert chain.total_certified == pytest.approx(probe.value + shift + hoeffding(1000, 0.03))
        assert not chain.vacuous

    @given(values=st.lists(st.floats(0, 2), min_size=1, max_size=5), rates=st.lists(st.floats(0, 9), max_size=3))
    def test_what_is_not_certified_is_never_added(self, values: list[float], rates: list[float]) -> None:
        terms = [Term(name="x", value=v, certified=True, delta=0.01, why="") for v in values]
        more = [Term(name="y", value=r, certified=False, delta=0.5, why="a rate") for r in (*rates, None)]
        chain = Chain(name="", bounded="", terms=(*more, *terms), assumptions=())
        assert chain.total_certified == pytest.approx(math.fsum(values))
        assert chain.delta == pytest.approx(0.01 * len(values))
        assert chain.vacuous == (math.fsum(values) >= 1)

    def test_no_certificate_without_a_number(self) -> None:
        for value in (None, math.inf, math.nan):
            with pytest.raises(ValueError, match="without a finite value"):
                Term(name="x", value=value, certified=True, delta=0.0, why="")
        with pytest.raises(ValueError, match="delta"):
            Term(name="x", value=0.0, certified=True, delta=1.0, why="")
        with pytest.raises(ValueError, match="no term"):
            held_out_chain([0.0], [0.0], [0]).term("luck")
        for make in (held_out_chain, held_out_kl_chain):
            with pytest.raises(ValueError, match="students"):
                make([0.0], [0.0], [0], students=0)


class Population:
    """A finite population of groups with several items each, and fixed candidates: its risk is known exactly."""

    def __init__(self, seed: int, distance: float, temperature: float = 0.1) -> None:
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(4, 6))
        sizes = rng.integers(1, 5, 400)
        self.groups = np.repeat(np.arange(400), sizes)
        labels = np.repeat(rng.integers(0, 4, 400), sizes)
        source = centres[labels] + 1.5 * rng.normal(size=(len(labels), 6))
        target = source + distance * rng.normal(size=source.shape)
        candidate_labels = np.arange(60) % 4
        memory = centres[candidate_labels] + 1.5 * rng.normal(size=(60, 6))
        candidates = PairedVectors.of(
            memory, memory + distance * rng.normal(size=memory.shape), ids=np.arange(60) - 100, labels=candidate_labels
        )
        anchors = PairedVectors.of(source, target, labels=labels)
        found = compare_similarities(anchors, candidates, temperature=temperature)
        assert found.error_source is not None
        assert found.error_target is not None
        self.error: Floats = found.error_source
        self.target_error: Floats = found.error_target
        self.tv, self.kl = found.tv, found.kl
        self.risk = float(group_means(found.error_target, self.groups).mean())
        weights = centres - centres.mean(axis=0)
        self.lipschitz = margin_lipschitz(weights)
        self.margin = margins(anchors.source @ weights.T, labels)
        self.errors = anchors.errors()
        wrong = margins(anchors.target @ weights.T, labels) <= 0
        self.zero_shot_risk = float(group_means(wrong.astype(float), self.groups).mean())

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        """Rows of randomly drawn groups, with repetition, and a new number for every draw."""
        chosen = rng.integers(0, 400, count)
        rows = [np.flatnonzero(self.groups == each) for each in chosen]
        return np.concatenate(rows), np.repeat(np.arange(count), [len(each) for each in rows])


class TestCoverage:
    @pytest.mark.parametrize("distance", [0.02, 0.5])
    def test_chains_cover_the_risk_of_a_finite_population(self, distance: float) -> None:
        people = Population(0, distance)
        rng = np.random.default_rng(1)
        delta, draws = 0.2, 150
        missed = dict.fromkeys(("tv", "kl", "zero shot", "limit"), 0)
        exact = float(group_means(people.tv, people.groups).mean())
        for _ in range(draws):
            rows, groups = people.draw(rng, 50)
            made = held_out_chain(people.error[rows], people.tv[rows], groups, delta=delta)
            loss = held_out_kl_chain(people.error[rows], people.kl[rows], groups, delta=delta)
            shot = zero_shot_chain(
                people.margin[rows], people.errors[rows], groups, lipschitz=people.lipschitz, gamma=0.5, delta=delta
            )
            missed["tv"] += made.total_certified < people.risk
            missed["kl"] += loss.total_certified < people.risk
            missed["zero shot"] += shot.total_certified < people.zero_shot_risk
            missed["limit"] += tv_limit(people.tv[rows], groups, delta=delta) < exact
            assert made.total_certified <= loss.total_certified + 1e-12  # measured beats bounded
        assert all(count <= delta * draws for count in missed.values()), missed

    @pytest.mark.parametrize(("delta", "least"), [(0.5, 0.02), (0.05, 0.0)])
    def test_the_worst_case_uses_up_much_of_delta(self, delta: float, least: float) -> None:
        """Errors of 0 and 1 and no distance: the bound fails with a probability that can be summed up exactly."""
        count, risk = 60, 0.5
        failed = 0.0
        for wrong in range(count + 1):
            error = np.repeat([1.0, 0.0], [wrong, count - wrong])
            total = held_out_chain(error, np.zeros(count), np.arange(count), delta=delta).total_certified
            failed += (total < risk) * math.comb(count, wrong) / 2**count
        assert least <= failed <= delta

    def test_choosing_among_students_needs_the_union_bound(self) -> None:
        """The smallest of 200 equal students' means lies far below: with K = 1 it fails, with K = 200 it holds."""
        rng = np.random.default_rng(2)
        count, students, delta = 100, 200, 0.1
        alone = together = 0
        for _ in range(60):
            errors = (rng.random((students, count)) < 0.5).astype(float)
            best = errors[errors.mean(axis=1).argmin()]
            settings_: dict[str, Any] = {"delta": delta}
            alone += held_out_chain(best, 0 * best, np.arange(count), **settings_).total_certified < 0.5
            settings_["students"] = students
            together += held_out_chain(best, 0 * best, np.arange(count), **settings_).total_certified < 0.5
        assert alone > 2 * delta * 60
        assert together <= delta * 60

    def test_items_of_one_group_are_one_draw(self) -> None:
        """Ten copies of every item: counting items would promise too much, counting groups does not."""
        rng = np.random.default_rng(3)
        wrong_by_items = wrong_by_groups = 0
        for _ in range(200):
            error = np.repeat((rng.random(40) < 0.5).astype(float), 10)
            zeros = np.zeros(400)
            wrong_by_items += held_out_chain(error, zeros, np.arange(400), delta=0.1).total_certified < 0.5
            wrong_by_groups += (
                held_out_chain(error, zeros, np.repeat(np.arange(40), 10), delta=0.1).total_certified < 0.5
            )
        assert wrong_by_items > 0.1 * 200
        assert wrong_by_groups <= 0.1 * 200

    @given(seed=st.integers(0, 10_000), distance=st.floats(0.01, 3))
    @settings(max_examples=15, deadline=None)
    def test_without_sampling_the_chain_holds_always(self, seed: int, distance: float) -> None:
        people = Population(seed, distance)
        chain = held_out_chain(people.error, people.tv, people.groups)
        deterministic = chain.total_certified - hoeffding(400, 0.05)
        assert people.risk <= deterministic + 1e-12
        shot = zero_shot_chain(people.margin, people.errors, people.groups, lipschitz=people.lipschitz, gamma=0.3)
        assert people.zero_shot_risk <= shot.total_certified - hoeffding(400, 0.05) + 1e-9
