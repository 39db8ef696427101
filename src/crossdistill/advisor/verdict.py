"""From evidence and forecasts to one plain verdict, with its reasons; each rule stands here once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crossdistill.advisor.curve import Spread
from crossdistill.advisor.evidence import CANDIDATES, Evidence, TaskEvidence
from crossdistill.advisor.forecast import best_linear

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
FEWEST_HELD_OUT = 20  # pairs, below which nothing is concluded


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
    for check in (_identical, _mixed_up, _ignorant):
        if (found := check(evidence)) is not None:
            return found
    if evidence.task is None or now is None or evidence.held_out < FEWEST_HELD_OUT:
        return Ruling(
            "collect more pairs",
            (f"{evidence.pairs} pairs are too few to measure anything: {evidence.held_out} are left to test on.",),
        )
    unrelated = _unrelated(evidence)
    if unrelated is not None and now.low <= 0:
        return unrelated
    return _by_gain(evidence, evidence.task, now, more)


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
    if lead is None or lead.low > 0:
        return None
    return Ruling(
        "the teacher knows nothing",
        (
            "The teacher knows a source again in another view no better than its own network with random weights does "
            f"(lead {_points(lead.value)}, {_points(lead.low)} to {_points(lead.high)} points).",
            "Were its weights loaded, and is the preprocessing theirs?",
        ),
    )


def _unrelated(evidence: Evidence) -> Ruling | None:
    """No sign that the sides of a pair belong together, neither to the eye nor to a trained pilot."""
    fit, partner = evidence.pairing, evidence.partner
    if partner.low > _CHANCE or (fit is not None and fit.low > _CHANCE):
        return None
    share = _percent(partner.value)
    seen = f"A held-out target finds its own source no more often than by chance ({share} of comparisons)"
    if evidence.structure is not None and evidence.structure.low <= _CHANCE:
        own = _percent(evidence.structure.value)
        return Ruling(
            "the target does not carry it",
            (f"{seen}.", f"The targets are like noise: one half of a target tells nothing of its other half ({own})."),
        )
    return Ruling(
        "wrong pairing",
        (
            f"{seen}, though the targets are more than noise.",
            "Either the pairs are mixed up, or the targets show something else. Look at a few: `crossdistill audit`.",
        ),
    )


def _by_gain(evidence: Evidence, task: TaskEvidence, now: Spread, more: Sequence[tuple[int, Spread]]) -> Ruling:
    gain = f"{_points(now.value)} points ({_points(now.low)} to {_points(now.high)})"
    kind = "few-shot accuracy" if not task.stand_in else "few-shot accuracy on stand-in classes"
    against = f"{kind} over the same labels without distillation"
    if now.low > 0 and now.value >= WORTHWHILE:
        return Ruling("worth it", (f"A gain of {gain} in {against} is to be expected.",))
    first = next(((pairs, each) for pairs, each in more if each.low > 0 and each.value >= WORTHWHILE), None)
    if first is not None:
        pairs, each = first
        return Ruling(
            "collect more pairs",
            (
                f"With the pairs at hand a gain in {against} is not certain: {gain}.",
                f"With about {pairs:,} it would be {_points(each.value)} points ({_points(each.low)} to "
                f"{_points(each.high)}).",
            ),
        )
    return Ruling(
        "the target does not carry it",
        (
            f"No gain in {against} is to be counted on: {gain}, and not with ten times the pairs either.",
            f"A linear student of the same pairs reaches {_percent(best_linear(task))}, labels alone "
            f"{_percent(task.alone.value)}, the teacher on the source {_percent(task.source.value)}.",
        ),
    )


def recommended(evidence: Evidence) -> tuple[str, str]:
    """The objective to start with, a key of ``CANDIDATES``, and why."""
    default = next(iter(CANDIDATES))
    leads = {}
    for name, found in evidence.objectives.items():
        better = [key for key, each in found.items() if each.low > 0]
        if better and all(each.high >= 0 for each in found.values()):
            leads[name] = (sum(each.value for each in found.values()), better)
    if not leads:
        return default, "no other was clearly ahead of the default on held-out pairs"
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


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
