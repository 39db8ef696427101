"""From evidence and forecasts to one plain verdict, with its reasons; each rule stands here once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crossdistill.advisor.curve import Spread
from crossdistill.advisor.evidence import DEFAULT, Evidence, TaskEvidence
from crossdistill.advisor.forecast import best_linear
from crossdistill.evaluation.intervals import Estimate

Verdict = Literal[
    "worth it", "collect more pairs", "wrong pairing", "the target does not carry it", "the target is the source",
    "the teacher knows nothing",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = (
    "worth it", "collect more pairs", "wrong pairing", "the target does not carry it", "the target is the source",
    "the teacher knows nothing",
)  # fmt: skip
WORTHWHILE = 0.02  # gain in accuracy, below which distillation is not worth the trouble
_IDENTICAL = 0.9  # share of pairs
_MISMATCHED = 0.25  # share of pairs that is certainly exceeded
_CHANCE = 0.5  # of a partner against a wrong one
_CERTAIN = 0.01  # p-value of a linear relation
_ALIKE = 0.5  # share of items that are one and the same
_LEAD = 0.1  # over random weights in knowing a source again; docs/theory-study.md has what teachers reach
_SIX = 1.35  # half width of a normal interval at 1 - 0.05 / 6, in those at 95%


@dataclass(frozen=True)
class Ruling:
    """A verdict with its reasons, the decisive one first."""

    verdict: Verdict
    reasons: tuple[str, ...]


def rule(evidence: Evidence, now: Spread | None, more: Sequence[tuple[int, Spread]]) -> Ruling:
    """The verdict.

    Args:
        evidence: what was measured.
        now: forecast gain with all pairs at hand; None where there is no task to measure.
        more: forecasts with more pairs, ``(pairs, gain)``, rising.
    """
    for check in (_identical, _mixed_up, _ignorant, _unrelated):
        if (found := check(evidence)) is not None:
            return found
    task = evidence.task
    if task is None or now is None:
        few = f"{evidence.held_out} of {evidence.pairs} pairs are left to test on, and no few-shot task is in them"
        return Ruling("collect more pairs", (f"There is too little to measure a gain by: {few}.",))
    return _by_gain(task, now, more)


def degenerate(same_targets: float, same_sources: float) -> Ruling | None:
    """The verdict where most items of a side are one and the same, which nothing else need be measured of.

    Args:
        same_targets: share of the pairs that have the most common target.
        same_sources: share of the sources that the teacher embeds into the most common vector.
    """
    if same_targets > _ALIKE:
        reason = f"In {_percent(same_targets)} of the pairs the target is one and the same: are they empty, or silent?"
        return Ruling("the target does not carry it", (reason,))
    if same_sources > _ALIKE:
        reason = f"The teacher embeds {_percent(same_sources)} of the sources into one and the same vector."
        return Ruling(
            "the teacher knows nothing", (reason, "Were its weights loaded, and is the preprocessing theirs?")
        )
    return None


def _identical(evidence: Evidence) -> Ruling | None:
    if evidence.identical < _IDENTICAL:
        return None
    return Ruling(
        "the target is the source",
        (
            f"In {_percent(evidence.identical)} of the pairs the target shows just what the source shows: apply the "
            "teacher itself. Distillation can make it smaller here, but carries it nowhere.",
        ),
    )


def _mixed_up(evidence: Evidence) -> Ruling | None:
    fit = evidence.pairing
    if fit is None or fit.mismatched is None or fit.mismatched[1] < _MISMATCHED:
        return None
    value, low, high = fit.mismatched
    return Ruling(
        "wrong pairing",
        (
            f"About {_percent(value)} of the pairs are mismatched ({_percent(low)} to {_percent(high)}): "
            "`crossdistill audit` names them.",
        ),
    )


def _ignorant(evidence: Evidence) -> Ruling | None:
    lead = evidence.knows
    if lead is None or lead.value >= _LEAD:
        return None
    return Ruling(
        "the teacher knows nothing",
        (
            "The teacher knows a source again in another view hardly better than its own network with random weights "
            f"does (lead {_points(lead.value)}, {_points(lead.low)} to {_points(lead.high)} points).",
            "Were its weights loaded, and is the preprocessing theirs?",
        ),
    )


def _unrelated(evidence: Evidence) -> Ruling | None:
    """No sign that the sides of a pair belong together, neither to a linear map nor to a trained pilot."""
    partner, linear = evidence.partner, evidence.distances.get("retrieval_auc")
    if partner is None or linear is None or linear.p_value is None:
        return None
    if partner.low > _CHANCE or linear.p_value <= _CERTAIN:
        return None
    seen = (
        f"A held-out target finds its own source no more often than by chance: in {_percent(partner.value)} of "
        f"comparisons after a pilot, in {_percent(linear.value)} by a linear map"
    )
    if evidence.structure is not None and evidence.structure.signal == "none":
        own = _percent(evidence.structure.value)
        return Ruling(
            "the target does not carry it",
            (f"{seen}.", f"The targets are like noise: one half of a target tells nothing of its other half ({own})."),
        )
    known = ", though the targets are more than noise" if evidence.structure is not None else ""
    return Ruling(
        "wrong pairing",
        (
            f"{seen}{known}.",
            "Either the pairs are mixed up, or the targets show nothing of what this teacher sees. Look at a few "
            "(`crossdistill audit`); if they are right, try another teacher.",
        ),
    )


def _by_gain(task: TaskEvidence, now: Spread, more: Sequence[tuple[int, Spread]]) -> Ruling:
    kind = "few-shot accuracy" if not task.stand_in else "few-shot accuracy on stand-in classes"
    against = f"{kind} over the same labels without distillation"
    if now.low > 0 and now.value >= WORTHWHILE:
        return Ruling("worth it", (f"A gain of {_gain(now)} in {against} is to be expected.",))
    last = more[-1] if more else (0, now)
    if max(now.value, last[1].value) < WORTHWHILE:
        return Ruling(
            "the target does not carry it",
            (
                f"A gain in {against} is not to be counted on: {_gain(now)}; with {last[0]:,} pairs {_gain(last[1])}.",
                f"A linear student of the same pairs reaches {_percent(best_linear(task))}, labels alone "
                f"{_percent(task.alone.value)}, the teacher on the source {_percent(task.source.value)}.",
            ),
        )
    certain = next(((pairs, each) for pairs, each in more if each.low > 0 and each.value >= WORTHWHILE), None)
    if certain is not None:
        return Ruling(
            "collect more pairs",
            (
                f"With the pairs at hand a gain in {against} is not certain: {_gain(now)}.",
                f"With about {certain[0]:,} it would be {_gain(certain[1])}.",
            ),
        )
    return Ruling(
        "collect more pairs",
        (
            f"A gain in {against} is possible and not certain: {_gain(now)}; with {last[0]:,} pairs {_gain(last[1])}.",
            "Look at more of them (--pairs) if there are more, or collect some: what was measured does not tell.",
        ),
    )


def recommended(evidence: Evidence) -> tuple[str, str]:
    """The objective to start with, a key of ``CANDIDATES``, and why.

    Another than the default has to be ahead in one of two measures beyond what the best of six leads is by luck
    (Bonferroni), as far as one pilot tells: the interval does not cover the training's own scatter.
    """
    leads = {}
    for name, found in evidence.objectives.items():
        better = [key for key, each in found.items() if _clearly_above(each)]
        if better and all(each.high >= 0 for each in found.values()):
            leads[name] = (sum(each.value for each in found.values()), better)
    if not leads:
        return DEFAULT, "no other was clearly ahead of the default on held-out pairs"
    name = max(leads, key=lambda each: leads[each][0])
    words = {"few_shot": "few-shot accuracy", "partner": "finding the partner"}
    return name, f"ahead of the default in {' and '.join(words[key] for key in leads[name][1])}, and behind in nothing"


def remarks(evidence: Evidence) -> list[str]:
    """What a user should know beside the verdict."""
    found = []
    task = evidence.task
    if task is not None and task.stand_in:
        found.append(
            "There are too few labels for a few-shot task: clusters of the teacher's embeddings stand in for classes."
        )
    if task is not None and task.shown is not None and task.shown.value > task.distilled.value:
        found.append(
            f"The teacher applied to pictures of the targets as they are reaches {_percent(task.shown.value)}, more "
            f"than a pilot's {_percent(task.distilled.value)}: with few pairs, start the student from the teacher's "
            "weights, or use the teacher itself."
        )
    if 0 < evidence.identical < _IDENTICAL:
        found.append(f"In {_percent(evidence.identical)} of the pairs both sides are the same.")
    return found


def _clearly_above(lead: Estimate) -> bool:
    return lead.value - _SIX * (lead.value - lead.low) > 0


def _gain(each: Spread) -> str:
    return f"{_points(each.value)} points ({_points(each.low)} to {_points(each.high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
