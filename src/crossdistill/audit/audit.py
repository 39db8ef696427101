"""An audit from end to end: every item is looked at once, and everything that is found comes back at once."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from crossdistill.audit.copies import find_copies
from crossdistill.audit.duplicates import Cluster, check_duplicates, clusters
from crossdistill.audit.finding import SEVERITIES, Finding, Severity, ordered
from crossdistill.audit.gather import Gathered, gather, gather_masks
from crossdistill.audit.items import check_items, unreadable
from crossdistill.audit.labels import check_labels, label_counts
from crossdistill.audit.mismatch import Matching, check_matching, match
from crossdistill.audit.rows import SIDES, check_rows, places
from crossdistill.console import say
from crossdistill.encoders import Encoder
from crossdistill.errors import PairsError
from crossdistill.modalities import InputDefaults, Modality
from crossdistill.pairs import Pairs, Side

FORMAT = 1
_SMALL = 20_000  # rows below which threads cost more than they bring
_DEFAULTS = InputDefaults(size=96, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), interpolation="bilinear")


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that an audit found.

    Attributes:
        pairs: the rows, with splits.
        modalities: of both sides, resolved.
        findings: the worst first.
        clusters: copies.
        matching: the judgement of the pairs, or why there is none.
        thresholds: correlation from which on items of a side counted as copies.
        teacher: where the teacher's weights come from; None without one.
    """

    pairs: Pairs
    modalities: dict[Side, Modality]
    findings: tuple[Finding, ...]
    clusters: list[Cluster]
    matching: Matching | str
    thresholds: dict[Side, float]
    teacher: str | None

    def count(self, severity: Severity) -> int:
        """The number of findings of a severity."""
        return sum(each.severity == severity for each in self.findings)

    def fails(self, level: Severity) -> bool:
        """Whether anything was found that is as bad as ``level``, or worse."""
        return any(self.count(each) for each in SEVERITIES[: SEVERITIES.index(level) + 1])

    def to_json(self) -> dict[str, Any]:
        """The content of ``audit.json`` (docs/audit.md)."""
        return {
            "format": FORMAT,
            "pairs": {"name": self.pairs.name, "rows": len(self.pairs), "splits": self.pairs.counts()},
            "modalities": {side: each.model_dump(mode="json", by_alias=True) for side, each in self.modalities.items()},
            "teacher": self.teacher,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "checks": dict(sorted(Counter(each.check for each in self.findings).items())),
            "findings": [each.to_json() for each in self.findings],
            "labels": label_counts(self.pairs),
            "copies": {"threshold": {side: round(value, 5) for side, value in self.thresholds.items()}},
            "matching": self._matching(),
        }

    def _matching(self) -> dict[str, Any]:
        if isinstance(self.matching, str):
            return {"signal": None, "reason": self.matching}
        pairing, share = self.matching.pairing, self.matching.pairing.share
        clear = pairing.signal == "clear"
        return {
            "signal": pairing.signal,
            "accuracy": round(pairing.accuracy, 5),
            "judged": len(self.matching.rows),
            "share": {name: round(getattr(share, name), 5) for name in ("value", "low", "high")} if clear else None,
            "views": [list(names) for names in self.matching.views],
            "partners": {str(row): other for row, other in sorted(self.matching.partners.items())},
            "ranking": [
                {
                    "row": int(self.matching.rows[place]), "score": round(float(pairing.score[place]), 4),
                    "chance": round(float(pairing.chance[place]), 5),
                    "probability": round(float(pairing.doubt[place]), 4) if clear else None,
                }
                for place in self.matching.ranked
            ] if pairing.signal != "none" else [],
        }  # fmt: skip


def audit(
    pairs: Pairs,
    source: Modality,
    target: Modality,
    *,
    teacher: Encoder | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Audit:
    """Audits pairs.

    Args:
        pairs: best opened inside of :func:`crossdistill.pairs.table.unchecked`, or the first wrong row is an error.
        source: settings of the source modality; with a teacher its own are taken instead.
        target: settings of the target modality.
        teacher: judges whether pairs match, beside what they look like.
        device: of the teacher.
        workers: processes that decode; 0 decodes here.

    Raises:
        MissingDependencyError: a modality needs a package that is not installed.
    """
    modalities: dict[Side, Modality] = {
        "source": source.resolve(_DEFAULTS) if teacher is None else teacher.modality,
        "target": target.resolve(_DEFAULTS if teacher is None else teacher.modality.as_defaults()),
    }
    findings = [*check_rows(pairs), *check_labels(pairs)]
    with tempfile.TemporaryDirectory(prefix="crossdistill-audit-") as scratch:
        seen = {side: gather(pairs, side, modalities[side], teacher, device, workers, Path(scratch)) for side in SIDES}
        for side in SIDES:
            findings += check_items(pairs, seen[side])
        findings += _check_masks(pairs, seen["target"], workers)
        with threadpool_limits(limits=1 if len(pairs) < _SMALL else None):
            say("comparing items")
            copies = {side: find_copies(seen[side]) for side in SIDES}
            found = clusters(pairs, seen, copies)
            findings += check_duplicates(pairs, found)
            say("judging pairs")
            matching = match(pairs, seen, copies)
    if isinstance(matching, Matching):
        findings += check_matching(pairs, matching)
    return Audit(
        pairs=pairs,
        modalities=modalities,
        findings=ordered(findings),
        clusters=found,
        matching=matching,
        thresholds={side: copies[side].threshold for side in SIDES},
        teacher=None if teacher is None else f"{teacher.architecture.backbone}, {teacher.origin}",
    )


def _check_masks(pairs: Pairs, targets: Gathered, workers: int) -> list[Finding]:
    found = []
    for rows, size in zip(*gather_masks(pairs, workers), strict=True):
        if isinstance(size, PairsError):
            found.append(unreadable(pairs, rows, "mask", size))
            continue
        facts = targets.facts[targets.of_row[rows[0]]] if targets.of_row[rows[0]] >= 0 else {}
        target = facts.get("height"), facts.get("width")
        if None not in target and target != size:
            found.append(
                Finding(
                    severity="severe", check="inconsistent", rows=tuple(rows), side="target", where=places(pairs, rows),
                    message=f"A mask has {size[1]} x {size[0]} pixels, and its target {target[1]} x {target[0]}.",
                    fix="export masks in the geometry of the targets",
                )
            )  # fmt: skip
    return found
