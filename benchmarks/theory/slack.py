"""Every inequality of docs/theory.md on random cases: how often it fails (never), and what it leaves over.

    python -m benchmarks.theory.slack            # 53,600 pairs of distributions, seconds
    python -m benchmarks.theory.slack --quick    # a twentieth of them
    python -m benchmarks.theory.slack --save     # and write benchmarks/results/DATE-theory-slack.json

Distributions: Dirichlet of four concentrations and four sizes, unrelated or nearly equal; and similarity distributions
of random embeddings whose modalities are related to six degrees. The tight example of each inequality says that its
constant cannot be smaller: its slack is zero, or goes to zero with the parameter given.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Measurement, below, recorded, save, show_all
from crossdistill.theory import (
    PairedVectors,
    bretagnolle_huber,
    cmc_certificate,
    compare_similarities,
    expected_loss,
    kl_certificate,
    kl_divergence,
    l2_certificate,
    linear_rademacher,
    logit_shift,
    margin_lipschitz,
    margin_shift,
    margins,
    mutual_information_bound,
    partner_triangle,
    pinsker,
    ramp,
    ramp_rademacher,
    retrieval_error_bound,
    softmax,
    softmax_kl,
    softmax_tv,
    theory_curve_point,
    total_variation,
    vote_error_bound,
    vote_error_certificate,
    vote_margin,
)

Floats = NDArray[np.float64]

ROUNDING = 1e-12
CONCENTRATIONS, SIZES, ROWS = (0.01, 0.1, 1.0, 10.0), (2, 5, 50, 500), 1000
DISTANCES, SETS, ANCHORS, TEMPERATURES = (1e-6, 0.01, 0.1, 0.5, 2.0, 50.0), 10, 60, (0.03, 0.1, 1.0)
QUANTILES = (0.0, 0.05, 0.5, 0.95)


@dataclass
class Slacks:
    """What each inequality leaves over: right side minus left, by its name; and its tight example's."""

    found: dict[str, list[Floats]] = field(default_factory=dict)
    tight: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, smaller: Any, larger: Any) -> None:
        """Cases of ``smaller <= larger``."""
        slack = np.atleast_1d(np.asarray(larger, dtype=np.float64) - np.asarray(smaller, dtype=np.float64))
        self.found.setdefault(name, []).append(slack[~np.isnan(slack)])

    def example(self, name: str, smaller: float, larger: float) -> None:
        """The tight one; its slack is relative to the right side."""
        self.tight[name] = (larger - smaller) / larger


def distributions(slacks: Slacks, rng: np.random.Generator, rows: int) -> int:
    """Pairs of Dirichlet draws: divergences, losses, votes. Returns how many pairs."""
    count = 0
    for concentration, size, near in itertools.product(CONCENTRATIONS, SIZES, (False, True)):
        p = rng.dirichlet(np.full(size, concentration), rows)
        q = rng.dirichlet(np.full(size, concentration), rows)
        if near:
            q = p + (q - p) * 10.0 ** rng.uniform(-8, 0, (rows, 1))
        p, q = (each / each.sum(axis=1, keepdims=True) for each in (p, q))
        tv, kl = total_variation(p, q), kl_divergence(p, q)
        count += rows
        for name, bound in (("pinsker", pinsker), ("bretagnolle-huber", bretagnolle_huber), ("best", kl_certificate)):
            slacks.add(f"{name} (6-9)", tv, bound(kl))
            finite = np.isfinite(kl)
            if finite.any():
                slacks.add(f"{name}, means (9)", tv[finite].mean(), bound(float(kl[finite].mean())))
        losses = rng.random((rows, size)) ** rng.choice([0.2, 1, 5])
        slacks.add("any loss (20)", np.abs(expected_loss(q, losses) - expected_loss(p, losses)), tv)
        labels = rng.integers(0, 3, size)
        own = rng.integers(0, 3, rows)
        before, after = vote_margin(p, labels, own), vote_margin(q, labels, own)
        slacks.add("vote margin (24)", np.abs(after - before), 2 * tv)
        slacks.add("hard vote (25)", (after <= 0) * 1.0, vote_error_certificate(before - ROUNDING, tv))
        slacks.add("hard votes, means (26)", (after <= 0).mean(), vote_error_bound(before, float(tv.mean()), 0.3))
        logits = rng.normal(size=(rows, size)) * 3
        delta = 10.0 ** rng.uniform(-6, 1.3, rows)
        moved = logits + delta[:, None] * np.where(rng.random((rows, size)) < 0.5, -1, 1)
        a, b = softmax(logits), softmax(moved)
        slacks.add("logits, TV (10)", total_variation(a, b), softmax_tv(delta))
        slacks.add("logits, KL (11)", kl_divergence(a, b), softmax_kl(delta))
    return count


def embeddings(slacks: Slacks, rng: np.random.Generator, sets: int) -> int:
    """Similarity distributions of paired vectors: what the losses give. Returns how many anchors."""
    count = 0
    for distance, tau, _ in itertools.product(DISTANCES, TEMPERATURES, range(sets)):
        labels = rng.integers(0, 5, ANCHORS)
        source = rng.normal(size=(5, 8))[labels] + rng.normal(size=(ANCHORS, 8))
        pairs = PairedVectors.of(source, source + distance * rng.normal(size=source.shape), labels=labels)
        errors = pairs.errors()
        others = np.array([np.delete(errors, i).max() for i in range(ANCHORS)])
        for form in ("within", "to_teacher"):
            found = compare_similarities(pairs, temperature=tau, form=form)  # type: ignore[arg-type]
            shift = logit_shift(errors, temperature=tau, candidate_errors=others if form == "within" else 0.0)
            slacks.add(f"L2, {form} (12, 14)", found.tv, softmax_tv(shift))
            slacks.add("pinsker (6-9)", found.tv, pinsker(found.kl))
            slacks.add("bretagnolle-huber (6-9)", found.tv, bretagnolle_huber(found.kl))
            assert found.error_source is not None
            assert found.error_target is not None
            slacks.add(f"soft error, {form} (22)", found.error_target - found.error_source, found.tv)
        mean = float(found.tv.mean())
        slacks.add("L2 loss, means (13)", mean, l2_certificate(float((errors**2).mean()), temperature=tau))
        own = compare_similarities(pairs, temperature=tau, form="to_teacher", own=True)
        assert own.cmc is not None
        assert own.partner_target is not None
        assert own.partner_source is not None
        slacks.add("CMC, means (16)", 1 - own.partner_target.mean(), cmc_certificate(float(own.cmc.mean())))
        slacks.add("partner triangle (18)", own.tv, partner_triangle(own.partner_target, own.partner_source))
        similarity = pairs.target @ pairs.source.T
        wrong = (similarity >= similarity.diagonal()[:, None]).sum(axis=1) > 1
        slacks.add("retrieval (17)", wrong * 1.0, own.cmc / math.log(2))
        slacks.add("retrieval, means (17)", wrong.mean(), retrieval_error_bound(float(own.cmc.mean())))
        weights, gamma = rng.normal(size=(5, 8)), float(10.0 ** rng.uniform(-1, 1))
        lipschitz = margin_lipschitz(weights)
        a, b = (margins(rows @ weights.T, labels) for rows in (pairs.source, pairs.target))
        slacks.add("margin (28)", np.abs(a - b), lipschitz * errors)
        slacks.add("ramp (30)", (b <= 0) * 1.0, ramp(a, gamma) + margin_shift(errors, lipschitz, gamma))
        count += ANCHORS
    return count


def complexities(slacks: Slacks, rng: np.random.Generator, cases: int) -> None:
    """Rademacher complexities and the lemmas behind them, by enumeration of all signs."""
    signs = {k: np.array(list(itertools.product((-1.0, 1.0), repeat=k))) for k in (4, 8, 12)}
    for _ in range(cases):
        rows = rng.normal(size=(4, 3)) * 10.0 ** rng.uniform(-1, 1, (4, 1))
        for classes in (1, 2, 3):
            tables = signs[4 * classes].reshape(-1, classes, 4)
            exact = float(np.sqrt(((tables @ rows) ** 2).sum(axis=(1, 2))).mean()) / 4
            slacks.add("linear complexity (33)", exact, linear_rademacher(rows, 1.0, classes))
        vector = rng.normal(size=8) * 10.0 ** rng.uniform(-2, 0, 8)
        slacks.add("khintchine (35)", math.sqrt(float((vector**2).sum()) / 2), np.abs(signs[8] @ vector).mean())
        values, labels = rng.normal(size=(6, 4, 3)), rng.integers(0, 3, 4)
        losses = np.stack([margins(each, labels) for each in values])
        right = 2 * (signs[12] @ values.reshape(6, -1).T).max(axis=1).mean()
        slacks.add("vector contraction (34)", (signs[4] @ losses.T).max(axis=1).mean(), right)
        classes, gamma = int(rng.integers(2, 5)), float(10.0 ** rng.uniform(-1, 1))
        weights = rng.normal(size=(50, classes, 3))
        weights /= np.sqrt((weights**2).sum(axis=(1, 2), keepdims=True))
        numbers = rng.integers(0, classes, 4)
        losses = np.stack([ramp(margins(rows @ each.T, numbers), gamma) for each in weights])
        some = float((signs[4] @ losses.T).max(axis=1).mean()) / 4
        slacks.add("ramp complexity (36, 37)", some, ramp_rademacher(rows, 1 / gamma, classes))
        joint = rng.dirichlet(np.full(6, 10.0 ** rng.uniform(-1, 1))).reshape(2, 3)
        outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            information = float(np.nansum(joint * np.log(joint / outer)))
        score = rng.normal(size=(2, 3)) * 3 if rng.random() < 0.5 else np.log(joint / outer + 1e-300)
        other = joint.sum(axis=1)  # two pairs: the second one's source alone matters
        loss = sum(
            joint[a, b] * other[c] * math.log1p(math.exp(min(700.0, score[c, b] - score[a, b])))
            for a in range(2) for b in range(3) for c in range(2)
        )  # fmt: skip
        slacks.add("information (19)", mutual_information_bound(float(loss), 2), information)


def examples(slacks: Slacks) -> None:
    """The tight ones. Limits are taken near, not at, the end."""
    p, q = np.array([0.5 + 1e-4, 0.5 - 1e-4]), np.array([0.5, 0.5])
    slacks.example("pinsker (6-9)", float(total_variation(p, q)), pinsker(float(kl_divergence(p, q))))
    p, q = np.array([1.0, 0.0]), np.array([1e-6, 1 - 1e-6])
    slacks.example(
        "bretagnolle-huber (6-9)", float(total_variation(p, q)), bretagnolle_huber(float(kl_divergence(p, q)))
    )
    p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.4, 0.3, 0.3]])
    slacks.example(
        "any loss (20)", float((expected_loss(q, (q > p) * 1.0) - expected_loss(p, (q > p) * 1.0))[0]),
        float(total_variation(p, q)[0]),
    )  # fmt: skip
    p, q = np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])
    change = vote_margin(p, [0, 1], [0]) - vote_margin(q, [0, 1], [0])
    slacks.example("vote margin (24)", float(change[0]), 2 * float(total_variation(p, q)[0]))
    slacks.example("hard vote (25)", 1.0, float(vote_error_certificate([0.6], [0.3])[0]))
    a, b = softmax([-1.0, 1.0]), softmax([1.0, -1.0])
    slacks.example("logits, TV (10)", float(total_variation(a, b)), softmax_tv(2.0))
    a, b = softmax([-1e-3, 1e-3]), softmax([1e-3, -1e-3])
    slacks.example("logits, KL (11)", float(kl_divergence(a, b)), softmax_kl(2e-3))
    slacks.example("CMC, means (16)", 1 - math.exp(-0.7), cmc_certificate(0.7))
    tie = PairedVectors.of(np.eye(2), np.ones((2, 2)))
    own = compare_similarities(tie, temperature=0.1, form="to_teacher", own=True)
    assert own.cmc is not None
    slacks.example("retrieval (17)", 1.0, float(own.cmc[0]) / math.log(2))
    slacks.example(
        "partner triangle (18)", float(total_variation([1, 0, 0], [0.8, 0, 0.2])), partner_triangle(1.0, 0.8)
    )
    angle, tau = 0.3, 0.2
    anchor = PairedVectors.of([[math.cos(angle), -math.sin(angle)]], [[math.cos(angle), math.sin(angle)]], ids=[9])
    memory = PairedVectors.of([[0.0, 1.0], [0.0, -1.0]], [[0.0, 1.0], [0.0, -1.0]])
    tv = float(compare_similarities(anchor, memory, temperature=tau, form="to_teacher").tv[0])
    slacks.example("L2, to_teacher (12, 14)", tv, l2_certificate((2 * math.sin(angle)) ** 2, temperature=tau))
    slacks.example("L2 loss, means (13)", tv, l2_certificate((2 * math.sin(angle)) ** 2, temperature=tau))
    slacks.example("hard votes, means (26)", 0.5, vote_error_bound([0.3 + 1e-7, 0.9], (0.15 + 5e-8) / 2, 0.3))
    weights = np.array([[2.0, 0.0], [0.0, 0.0]])  # moved along their difference
    moved = margins(np.array([[0.5, 1.0], [0.1, 1.0]]) @ weights.T, [0, 0])
    slacks.example("margin (28)", float(moved[0] - moved[1]), margin_lipschitz(weights) * 0.4)
    size = 1e-4  # anchor and candidates turn towards each other
    anchor = PairedVectors.of([[math.cos(size), -math.sin(size)]], [[math.cos(size), math.sin(size)]], ids=[9])
    before, after = np.array([-math.sin(size), math.cos(size)]), np.array([math.sin(size), math.cos(size)])
    memory = PairedVectors.of([before, -before], [after, -after])
    tv = float(compare_similarities(anchor, memory, temperature=1.0).tv[0])
    shift = logit_shift(anchor.errors(), temperature=1.0, candidate_errors=float(memory.errors().max()))
    slacks.example("L2, within (12, 14)", tv, float(softmax_tv(shift)[0]))
    slacks.example("ramp (30)", 1.0, float(ramp([0.6], 0.6)[0] + margin_shift([0.2], 3.0, 0.6)[0]))
    slacks.example("linear complexity (33)", math.sqrt(2) / 2, linear_rademacher(np.eye(2), 1.0))
    slacks.example("khintchine (35)", 1.0, float(np.mean([2, 0, 0, 2])))


def curve_point_ms() -> float:
    """Processor time of what training may compute every epoch, 300 pairs of width 1280; the fastest of nine."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 300)
    source, target = rng.normal(size=(2, 300, 1280)).astype(np.float32)
    taken = []
    for _ in range(9):
        started = time.process_time()
        theory_curve_point(source, target, temperature=0.1, labels=labels)
        taken.append(time.process_time() - started)
    return 1000 * min(taken)


def run(quick: bool) -> tuple[list[Measurement], dict[str, Any]]:
    """All inequalities; the measurements to show and the raw results."""
    started, rng, slacks = time.monotonic(), np.random.default_rng(0), Slacks()
    part = 20 if quick else 1
    pairs = distributions(slacks, rng, ROWS // part)
    anchors = embeddings(slacks, rng, max(1, SETS // part))
    complexities(slacks, rng, 400 // part)
    examples(slacks)
    rows: dict[str, dict[str, Any]] = {}
    measured: list[Measurement] = []
    for name, parts in slacks.found.items():
        values = np.concatenate(parts)
        failed = int((values < -ROUNDING).sum())
        found = {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
        tight = slacks.tight.get(name)
        rows[name] = {"cases": len(values), "violations": failed, "slack": found, "tight_example": tight}
        measured.append(below(f"{name}: violations in {len(values)}", failed, 0, ""))
        measured.append(recorded(f"{name}: median slack (reference: 5% quantile)", found["0.5"], found["0.05"], ""))
        if tight is not None:
            measured.append(below(f"{name}: relative slack of the tight example", abs(tight), 1e-5, ""))
    milliseconds = curve_point_ms()
    measured.append(below("theory_curve_point, 300 pairs of width 1280", milliseconds, 60, "ms"))
    seconds = time.monotonic() - started
    measured.append(below("time", seconds, 60, "s"))
    settings = {
        "quick": quick, "pairs": pairs, "anchors": anchors, "concentrations": CONCENTRATIONS, "sizes": SIZES,
        "distances": DISTANCES, "temperatures": TEMPERATURES, "rounding": ROUNDING, "seed": 0,
    }  # fmt: skip
    return measured, {"settings": settings, "inequalities": rows, "curve_point_ms": milliseconds, "seconds": seconds}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="an object a line")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the cases")
    parser.add_argument("--save", action="store_true", help="write raw results")
    options = parser.parse_args()
    measured, raw = run(options.quick)
    show_all(measured, options.json)
    if options.save:
        print(save("theory-slack", raw))
    if not all(each.holds for each in measured):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
