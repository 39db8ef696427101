"""The chunked comparison against plain loops, and against the objectives that it is the theory of."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from theory_loops import Floats, embeddings, softmax_row, unit

from crossdistill.objectives import CMC, CMD, L2
from crossdistill.theory import (
    Form,
    PairedVectors,
    cmc_certificate,
    compare_similarities,
    l2_certificate,
    logit_shift,
    mutual_information_bound,
    partner_triangle,
    pinsker,
    retrieval_error_bound,
    softmax_kl,
    softmax_tv,
    total_variation,
    vote_margin,
)

ROUNDING = 1e-12


def loops(
    anchors: PairedVectors,
    candidates: PairedVectors,
    taus: tuple[float, float],
    form: str,
    own: list[int] | None,
) -> dict[str, list[float]]:
    """Everything of :class:`Similarities`, item by item."""
    found: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(value)

    columns = candidates.target if form == "within" else candidates.source
    for i in range(len(anchors)):
        kept = [
            j for j in range(len(candidates))
            if candidates.ids[j] != anchors.ids[i] or (own is not None and own[i] == j)
        ]  # fmt: skip
        p = softmax_row([float(anchors.source[i] @ candidates.source[j]) / taus[0] for j in kept])
        q = softmax_row([float(anchors.target[i] @ columns[j]) / taus[1] for j in kept])
        note(
            tv=math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2,
            kl=math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a),
            cross_entropy=-math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True)),
            entropy_source=-math.fsum(a * math.log(a) for a in p if a),
            entropy_target=-math.fsum(b * math.log(b) for b in q if b),
        )
        if own is not None:
            place = kept.index(own[i])
            note(partner_source=p[place], partner_target=q[place], cmc=-math.log(q[place]))
        if anchors.labels is not None and candidates.labels is not None:
            for side, weights in (("source", p), ("target", q)):
                votes: dict[int, float] = {}
                for j, weight in zip(kept, weights, strict=True):
                    votes[int(candidates.labels[j])] = votes.get(int(candidates.labels[j]), 0.0) + weight
                right = votes.pop(int(anchors.labels[i]), 0.0)
                note(**{f"error_{side}": 1 - right, f"margin_{side}": right - max(votes.values(), default=0.0)})
    return found


class TestComparison:
    @given(
        seed=st.integers(0, 2**32 - 1),
        form=st.sampled_from(["within", "to_teacher"]),
        own=st.booleans(),
        separate=st.booleans(),
        labelled=st.booleans(),
        chunk_mb=st.sampled_from([1e-6, 0.002, 128.0]),
    )
    @settings(max_examples=120, deadline=None)
    def test_equals_plain_loops(
        self, seed: int, form: Form, own: bool, separate: bool, labelled: bool, chunk_mb: float
    ) -> None:
        rng = np.random.default_rng(seed)
        count = int(rng.integers(4, 15))
        ids = np.arange(count) if own and separate else rng.permutation(np.arange(count) % max(3, count - 3))
        labels = rng.integers(0, 3, count) if labelled else None
        rows = rng.normal(size=(2, count, 4))
        pairs = PairedVectors.of(rows[0], rows[1], ids=ids, labels=labels)
        anchors = pairs.rows(rng.permutation(count)[:3]) if separate else pairs
        taus = (float(rng.uniform(0.1, 1)), float(rng.uniform(0.1, 1)))
        places = None
        if own:
            places = [int(np.flatnonzero(ids == i)[0]) for i in anchors.ids] if separate else list(range(count))
        expected = loops(anchors, pairs, taus, form, places)
        found = compare_similarities(
            anchors, pairs if separate else None, temperature=taus[1], source_temperature=taus[0], form=form, own=own,
            chunk_mb=chunk_mb,
        )  # fmt: skip
        for name, value in vars(found).items():
            if name not in expected:
                assert value is None, name
            else:
                assert value.tolist() == pytest.approx(expected[name], abs=1e-12), name

    def test_votes_equal_those_of_one_distribution(self) -> None:
        p = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
        found = vote_margin(p, [0, 1, 0, 2], [0, 5])
        assert found.tolist() == pytest.approx([0.0, -0.5])
        assert vote_margin(p, [1, 1, 1, 1], [1, 1]).tolist() == [1.0, 1.0]

    def test_nearly_equal_modalities_keep_pinsker(self) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(40, 8))
        for size in (1e-5, 1e-9, 1e-12, 1e-15):
            found = compare_similarities(
                PairedVectors.of(rows, rows + size * rng.normal(size=rows.shape)), temperature=0.05
            )
            assert (found.tv <= pinsker(found.kl) + 2e-15).all()
            assert (found.kl <= 1e3 * found.tv**2 + 1e-28).all()  # and the divergence is no rounding error

    def test_temperatures_near_zero(self) -> None:
        rng = np.random.default_rng(1)
        pairs = PairedVectors.of(rng.normal(size=(9, 3)), rng.normal(size=(9, 3)), labels=np.arange(9) % 2)
        found = compare_similarities(pairs, temperature=1e-6, own=True)
        assert all(np.isfinite(value).all() for value in vars(found).values() if value is not None)
        nearest = compare_similarities(pairs, temperature=1e-6).tv
        assert set(np.round(nearest, 9)) <= {0.0, 1.0}

    def test_a_hundred_thousand_candidates(self) -> None:
        rng = np.random.default_rng(2)
        many = PairedVectors.of(
            rng.normal(size=(100_000, 4)), rng.normal(size=(100_000, 4)), labels=rng.integers(0, 7, 100_000)
        )
        few = many.rows(np.array([3, 99_999]))
        found = compare_similarities(few, many, temperature=0.2, form="to_teacher")
        row = np.delete(many.source @ few.target[1], 99_999) / 0.2
        q = np.exp(row - row.max())
        q /= q.sum()
        row = np.delete(many.source @ few.source[1], 99_999) / 0.2
        p = np.exp(row - row.max())
        p /= p.sum()
        assert found.tv[1] == pytest.approx(float(total_variation(p, q)), abs=1e-12)

    def test_refuses_what_cannot_be_meant(self) -> None:
        rng = np.random.default_rng(3)
        pairs = PairedVectors.of(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)))
        for temperature in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="temperature"):
                compare_similarities(pairs, temperature=temperature)
            with pytest.raises(ValueError, match="source_temperature"):
                compare_similarities(pairs, temperature=1.0, source_temperature=temperature)
        with pytest.raises(ValueError, match="form"):
            compare_similarities(pairs, temperature=1.0, form="across")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no candidate"):
            compare_similarities(PairedVectors.of(np.eye(2), np.eye(2), ids=[7, 7]), temperature=1.0)
        with pytest.raises(ValueError, match="exactly one"):
            compare_similarities(pairs.rows(np.array([0])), pairs.rows(np.array([1, 2])), temperature=1.0, own=True)
        wide = PairedVectors.of(rng.normal(size=(4, 3)), rng.normal(size=(4, 5)))
        assert len(compare_similarities(wide, temperature=1.0).tv) == 4
        with pytest.raises(ValueError, match="one width"):
            compare_similarities(wide, temperature=1.0, form="to_teacher")
        with pytest.raises(ValueError, match="one space"):
            wide.errors()

    def test_vectors_are_checked_and_normalised(self) -> None:
        rows = PairedVectors.of([[3.0, 4.0], [0.0, 0.0], [1e-300, 0.0], [1e300, 1e300]], np.ones((4, 2)))
        assert rows.source.tolist() == [[0.6, 0.8], [0, 0], [1, 0], [pytest.approx(0.5**0.5)] * 2]
        for wrong in (np.ones(3), np.ones((0, 2)), [[math.nan, 1.0]], [[math.inf, 1.0]]):
            with pytest.raises(ValueError, match="source: expected"):
                PairedVectors.of(wrong, wrong)
        with pytest.raises(ValueError, match="expected pairs"):
            PairedVectors.of(np.ones((2, 2)), np.ones((3, 2)))
        with pytest.raises(ValueError, match="ids: expected"):
            PairedVectors.of(np.ones((2, 2)), np.ones((2, 2)), ids=[1])
        with pytest.raises(ValueError, match="labels: expected whole"):
            PairedVectors.of(np.ones((2, 2)), np.ones((2, 2)), labels=[0.5, 1.0])


class TestObjectives:
    """The losses that are trained are the quantities that the theory is about."""

    rng = np.random.default_rng(4)
    source, target = rng.normal(size=(2, 10, 5))
    ids = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 3])  # two rows of one item

    def loss(self, objective: torch.nn.Module) -> float:
        return float(objective(*(torch.from_numpy(each) for each in (self.target, self.source, self.ids))))

    @pytest.mark.parametrize("form", ["within", "to_teacher"])
    def test_cmd(self, form: Form) -> None:
        found = compare_similarities(
            PairedVectors.of(self.source, self.target, ids=self.ids), temperature=0.2, source_temperature=0.1, form=form
        )
        loss = self.loss(CMD(temperature=0.2, teacher_temperature=0.1, form=form))
        assert found.cross_entropy.mean() == pytest.approx(loss, abs=1e-10)
        assert found.kl.mean() == pytest.approx(loss - found.entropy_source.mean(), abs=1e-10)

    def test_cmc(self) -> None:
        pairs = PairedVectors.of(self.source, self.target, ids=self.ids)
        found = compare_similarities(pairs, temperature=0.2, form="to_teacher", own=True)
        assert found.cmc is not None
        assert found.cmc.mean() == pytest.approx(self.loss(CMC(temperature=0.2, symmetric=False)), abs=1e-10)
        swapped = PairedVectors.of(self.target, self.source, ids=self.ids)
        back = compare_similarities(swapped, temperature=0.2, form="to_teacher", own=True)
        assert back.cmc is not None
        both = (found.cmc.mean() + back.cmc.mean()) / 2
        assert both == pytest.approx(self.loss(CMC(temperature=0.2)), abs=1e-10)

    def test_l2(self) -> None:
        errors = PairedVectors.of(self.source, self.target).errors()
        assert (errors**2).mean() == pytest.approx(self.loss(L2()), abs=1e-10)


class TestL2:
    @given(case=embeddings(), source_tau=st.floats(0.02, 2.0))
    @settings(max_examples=150, deadline=None)
    def test_bounds_both_forms(self, case: tuple[Floats, Floats, float], source_tau: float) -> None:
        source, target, tau = case
        pairs = PairedVectors.of(source, target)
        errors = pairs.errors()
        others = np.array([np.delete(errors, i).max() for i in range(len(errors))])
        for form, candidate_errors in (("to_teacher", 0.0), ("within", others)):
            for taus in ((tau, None), (tau, source_tau)):
                found = compare_similarities(
                    pairs, temperature=taus[0], source_temperature=taus[1], form=form,  # type: ignore[arg-type]
                )  # fmt: skip
                shift = logit_shift(
                    errors, temperature=taus[0], source_temperature=taus[1], candidate_errors=candidate_errors
                )
                assert (found.tv <= softmax_tv(shift) + ROUNDING).all()
                assert (found.kl <= softmax_kl(shift) + ROUNDING).all()
        tv = float(compare_similarities(pairs, temperature=tau, form="to_teacher").tv.mean())
        links = [
            tv,
            float(np.tanh(errors / (2 * tau)).mean()),
            float(np.tanh(errors.mean() / (2 * tau))),
            l2_certificate(float((errors**2).mean()), temperature=tau),
            float(np.sqrt((errors**2).mean()) / (2 * tau)),
        ]
        assert all(first <= second + ROUNDING for first, second in pairwise(links)), links

    def test_exactly_for_two_candidates_along_the_error(self) -> None:
        angle, tau = 0.3, 0.2
        anchor = np.array([[math.cos(angle), -math.sin(angle)]])
        moved = np.array([[math.cos(angle), math.sin(angle)]])
        memory = np.array([[0.0, 1.0], [0.0, -1.0]])
        anchors, candidates = PairedVectors.of(anchor, moved, ids=[9]), PairedVectors.of(memory, memory)
        found = compare_similarities(anchors, candidates, temperature=tau, form="to_teacher")
        error = float(anchors.errors()[0])
        assert error == pytest.approx(2 * math.sin(angle))
        assert float(found.tv[0]) == pytest.approx(l2_certificate(error**2, temperature=tau), abs=1e-14)

    def test_exactly_within_when_the_candidates_move_too(self) -> None:
        # Candidates +-e and anchor (cos, -sin): with equal errors of anchor and candidates the two parts add up only in
        # the limit of small ones; the ratio shows that 2 eps, not eps, is the right rate.
        angle, tau = 1e-3, 1.0
        turn = [np.array([math.cos(a), math.sin(a)]) for a in (-angle, angle)]
        up = [np.array([-math.sin(-a), math.cos(-a)]) for a in (-angle, angle)]
        anchors = PairedVectors.of([turn[0]], [turn[1]], ids=[9])
        candidates = PairedVectors.of([up[0], -up[0]], [up[1], -up[1]])
        found = compare_similarities(anchors, candidates, temperature=tau)
        shift = logit_shift(anchors.errors(), temperature=tau, candidate_errors=float(candidates.errors().max()))
        assert float(found.tv[0]) == pytest.approx(float(softmax_tv(shift)[0]), rel=1e-5)


class TestCMC:
    @given(case=embeddings())
    @settings(max_examples=150, deadline=None)
    def test_bounds_the_distance_from_the_partner_and_retrieval(self, case: tuple[Floats, Floats, float]) -> None:
        source, target, tau = case
        pairs = PairedVectors.of(source, target)
        found = compare_similarities(pairs, temperature=tau, form="to_teacher", own=True)
        assert found.cmc is not None
        assert found.partner_target is not None
        assert found.partner_source is not None
        assert cmc_certificate(found.cmc).tolist() == pytest.approx((1 - found.partner_target).tolist(), abs=1e-12)
        assert (1 - found.partner_target).mean() <= cmc_certificate(float(found.cmc.mean())) + ROUNDING
        assert (found.tv <= partner_triangle(found.partner_target, found.partner_source) + ROUNDING).all()
        similarity = pairs.target @ pairs.source.T
        rank = 1 + (similarity >= similarity.diagonal()[:, None]).sum(axis=1) - 1
        for k in (1, 2, 3):
            wrong = rank > k
            assert (wrong <= found.cmc / math.log(k + 1) + ROUNDING).all()
            assert wrong.mean() <= retrieval_error_bound(float(found.cmc.mean()), k) + ROUNDING

    def test_retrieval_exactly_at_a_tie(self) -> None:
        pairs = PairedVectors.of([[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])
        found = compare_similarities(pairs, temperature=0.1, form="to_teacher", own=True)
        assert found.cmc is not None
        assert retrieval_error_bound(float(found.cmc.mean())) == pytest.approx(1.0)  # a tie is an error, and it is one
        assert retrieval_error_bound(math.log(2) / 2) == pytest.approx(0.5)
        assert retrieval_error_bound(9.0) == 1.0
        with pytest.raises(ValueError, match="k: expected"):
            retrieval_error_bound(1.0, 0)

    def test_triangle_exactly_for_opposite_rests(self) -> None:
        q, p = np.array([0.9, 0.1, 0.0]), np.array([0.8, 0.0, 0.2])
        tv = float(total_variation(q, p))
        assert tv <= partner_triangle(0.9, 0.8)
        assert partner_triangle(1.0, 0.8) == pytest.approx(float(total_variation([1, 0, 0], p)))  # tight: q certain

    def test_a_small_loss_does_not_make_the_modalities_alike(self) -> None:
        """docs/theory.md, the two examples after Eq. 18: what CMC does not give."""
        count, tau = 40, 0.05
        eye = np.eye(2 * count)
        source, beside = eye[:count], eye[count:]
        pairs = PairedVectors.of(source, source + beside[np.arange(count) // 2])  # two targets each share a direction
        cmc = compare_similarities(pairs, temperature=tau, form="to_teacher", own=True).cmc
        assert cmc is not None
        assert cmc.mean() < 1e-4
        assert compare_similarities(pairs, temperature=tau).tv.min() > 0.95
        assert compare_similarities(pairs, temperature=tau, form="to_teacher").tv.max() < 1e-12
        lean = PairedVectors.of(source, 0.9 * source + 0.4 * np.roll(source, 1, axis=0))  # towards one other item
        cmc = compare_similarities(lean, temperature=tau, form="to_teacher", own=True).cmc
        assert cmc is not None
        assert cmc.mean() < 1e-3
        assert compare_similarities(lean, temperature=tau, form="to_teacher").tv.min() > 0.95

    def test_and_a_perfect_cmd_does_not_give_the_partner(self) -> None:
        rng = np.random.default_rng(5)
        source = rng.normal(size=(30, 6))
        rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
        pairs = PairedVectors.of(source, source @ rotation)
        assert compare_similarities(pairs, temperature=0.1).tv.max() < 1e-12
        cmc = compare_similarities(pairs, temperature=0.1, form="to_teacher", own=True).cmc
        assert cmc is not None
        assert cmc.mean() > math.log(30)

    @given(seed=st.integers(0, 2**32 - 1), candidates=st.integers(1, 3))
    @settings(max_examples=40, deadline=None)
    def test_information_on_a_finite_space(self, seed: int, candidates: int) -> None:
        """The expected loss of N pairs, by enumeration of all draws of them, with any score at all."""
        rng = np.random.default_rng(seed)
        joint = rng.dirichlet(np.full(6, 10.0 ** rng.uniform(-1, 1))).reshape(2, 3)
        outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        information = float((joint * np.log(np.where(joint > 0, joint, 1) / outer)).sum())
        score = np.log(joint / outer + 1e-300) if seed % 2 else rng.normal(size=(2, 3)) * 3
        cells = [(a, b) for a in range(2) for b in range(3)]
        expected = 0.0
        for draws in np.ndindex(*[6] * candidates):
            chosen = [cells[draw] for draw in draws]
            weight = math.prod(float(joint[cell]) for cell in chosen)
            row = softmax_row([float(score[a, chosen[0][1]]) for a, _ in chosen])
            expected += -weight * math.log(row[0]) if weight else 0.0
        assert mutual_information_bound(expected, candidates) <= information + 1e-12

    def test_information_is_at_most_log_n_and_tight_for_a_shared_coin(self) -> None:
        # A = B fair: I = log 2. N candidates, certain score: E CMC = E log(1 + Binomial(N - 1, 1/2)).
        count = 400
        binomial = [math.comb(count - 1, k) / 2 ** (count - 1) for k in range(count)]
        loss = math.fsum(chance * math.log(1 + k) for k, chance in enumerate(binomial))
        assert math.log(2) - 0.005 < mutual_information_bound(loss, count) < math.log(2)
        assert mutual_information_bound(0.0, 8) == pytest.approx(math.log(8))
        assert mutual_information_bound(9.0, 8) == 0
        with pytest.raises(ValueError, match="candidates"):
            mutual_information_bound(1.0, 0)


def test_unit_rows_are_what_the_reference_says() -> None:
    rows = np.random.default_rng(6).normal(size=(5, 3))
    assert PairedVectors.of(rows, rows).source == pytest.approx(unit(rows), abs=1e-15)
