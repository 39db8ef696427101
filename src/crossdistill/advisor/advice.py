"""The advice: what a few hundred pairs tell about a distillation that has not been run yet."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from crossdistill.advisor.bed import lay_bed
from crossdistill.advisor.curve import LearningCurve, Spread
from crossdistill.advisor.evidence import CANDIDATES, FEWEST_TRAINED, AdviseSettings, Evidence, divide, gather_evidence
from crossdistill.advisor.forecast import curve_of, forecast
from crossdistill.advisor.verdict import Ruling, degenerate, recommended, remarks, rule
from crossdistill.encoders import Encoder
from crossdistill.errors import PairsError
from crossdistill.evaluation.intervals import Ints
from crossdistill.modalities import Modality
from crossdistill.pairs import Pairs
from crossdistill.pairs.items import Items
from crossdistill.training.loop import choose_device

FORMAT = 1
FEWEST = 30  # pairs
_FEWEST_HELD_OUT, _FEWEST_GROUPS = 8, 2  # pairs, and groups of both parts
MULTIPLES = (1, 2, 4, 10)  # of the pairs at hand that gains are forecast for
_SHARE = 0.9  # of the ceiling
_SOURCES = 128  # that the teacher is tried on


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to expect, and what to do.

    Attributes:
        name: of the pairs.
        available: pairs at hand for training.
        settings: how much was spent.
        evidence: what was measured.
        curve: of the few-shot accuracy over the number of pairs; None without a task.
        forecasts: gain over labels alone by number of pairs; empty without a task.
        needed: pairs for 90% of the way from labels alone to the ceiling; None where the ceiling is no higher.
        ruling: the verdict and its reasons.
        objective: to start with, a key of ``CANDIDATES``.
        because: why this one.
        remarks: what else a user should know.
        seconds: that it took.
    """

    name: str
    available: int
    settings: AdviseSettings
    evidence: Evidence
    curve: LearningCurve | None
    forecasts: dict[int, Spread]
    needed: Spread | None
    ruling: Ruling
    objective: str
    because: str
    remarks: list[str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The content of ``advice.json`` (docs/advise.md)."""
        return {
            "format": FORMAT,
            "pairs": {"name": self.name, "available": self.available},
            "verdict": self.ruling.verdict,
            "reasons": list(self.ruling.reasons),
            "remarks": self.remarks,
            "gain": [{"pairs": pairs, **_rounded(each)} for pairs, each in self.forecasts.items()],
            "curve": [] if self.curve is None else [{"pairs": n, **_rounded(self.curve.at(n))} for n in self.points()],
            "ceiling": None if self.curve is None else _rounded(self.curve.limit),
            "pairs_for_90_percent": None if self.needed is None else _rounded(self.needed, 0),
            "objective": {**CANDIDATES[self.objective], "because": self.because},
            "evidence": self.evidence.to_json(),
            "settings": self.settings.model_dump(mode="json"),
            "seconds": round(self.seconds, 1),
        }

    def points(self) -> list[int]:
        """Numbers of pairs that the curve is drawn at."""
        if self.curve is None:
            return []
        last = max(MULTIPLES[-1] * self.available, 4 * self.curve.start)
        return sorted({round(each) for each in np.geomspace(self.curve.start, last, 40).tolist()})


def _rounded(spread: Spread, digits: int = 4) -> dict[str, float]:
    return {name: round(value, digits) for name, value in asdict(spread).items()}


def advise(
    pairs: Pairs,
    teacher: Encoder,
    target: Modality,
    *,
    settings: AdviseSettings | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Advice:
    """Looks at some of the training pairs, tries short distillations, and says what a full one will bring.

    Args:
        pairs: with splits; the test split is never looked at.
        teacher: the encoder of the source modality.
        target: settings of the target modality.
        settings: how much to spend; the defaults take one to two minutes on two cores.
        device: where to compute.
        workers: processes that read items.

    Raises:
        PairsError: there are too few pairs to look at, or one cannot be read.
    """
    started = time.monotonic()
    settings = settings or AdviseSettings()
    rows = pairs.where("train", has=("source", "target"))
    if len(rows) < FEWEST:
        raise PairsError(
            "There are too few pairs to say anything.", where=f"{pairs.name}, training split",
            expected=f"at least {FEWEST} pairs", received=len(rows), fix="collect some more, then ask again",
        )  # fmt: skip
    chosen = np.sort(np.random.default_rng((settings.seed, 1)).permutation(np.array(rows))[: settings.pairs])
    resolved = target.resolve(teacher.modality.as_defaults())
    place = choose_device(device)
    _check_groups(pairs, chosen, settings.seed)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are left alone
        bed = lay_bed(pairs, chosen.tolist(), teacher, resolved, device=place, workers=workers)
        ruling = degenerate(bed.same_targets, bed.same_sources)
        if ruling is None:
            first = _distinct(bed.ids, settings.seed)
            sources = Items.of(pairs, chosen[first].tolist(), "source", teacher.modality, workers)
            evidence = gather_evidence(bed, teacher, sources, bed.groups[first], settings, str(place))
        else:
            evidence = Evidence(pairs=len(bed), identical=bed.identical)
    task, available = evidence.task, len(rows)
    curve = None if task is None else curve_of(task)
    forecasts: dict[int, Spread] = {}
    needed = None
    if task is not None and curve is not None:
        forecasts = {each * available: forecast(task, curve, each * available) for each in MULTIPLES}
        above = curve.limit.value > task.alone.value
        needed = curve.pairs_for(_SHARE, task.alone.value) if above else None
    if ruling is None:
        ruling = rule(evidence, forecasts.get(available), list(forecasts.items())[1:])
    objective, because = recommended(evidence)
    return Advice(
        name=pairs.name, available=available, settings=settings, evidence=evidence, curve=curve, forecasts=forecasts,
        needed=needed, ruling=ruling, objective=objective, because=because, remarks=remarks(evidence),
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _check_groups(pairs: Pairs, rows: Ints, seed: int) -> None:
    """Refuses pairs whose groups cannot be divided, before anything is read."""
    groups = np.array(pairs.group_ids, dtype=np.int64)[rows]
    train, test = divide(groups, seed)
    counted = [len(np.unique(groups[part])) for part in (train, test)]
    if len(train) < FEWEST_TRAINED or len(test) < _FEWEST_HELD_OUT or min(counted) < _FEWEST_GROUPS:
        raise PairsError(
            "The pairs cannot be divided into some to train on and others to test on.",
            where=f"{pairs.name}, training split",
            expected=f"{FEWEST_TRAINED} and {_FEWEST_HELD_OUT} pairs, of {_FEWEST_GROUPS} groups each",
            received=f"{len(np.unique(groups))} groups of {len(rows)} pairs (pairs that share a file are one group)",
            fix="collect pairs of more objects, or change the group column if it divides too little",
        )  # fmt: skip


def _distinct(ids: Ints, seed: int) -> Ints:
    """Positions of some of the sources, each once."""
    _, first = np.unique(ids, return_index=True)
    chosen: Ints = np.sort(np.random.default_rng((seed, 2)).permutation(first)[:_SOURCES])
    return chosen
