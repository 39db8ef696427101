"""What an audit reports: one finding a problem, with where it is and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, get_args

from crossdistill.pairs import Side

Severity = Literal["severe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""severe: a run would fail, or its results would be wrong; warning: probably a mistake; note: worth a look."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem.

    Attributes:
        severity: see above.
        check: which check found it, such as ``unreadable``.
        message: what is wrong, in one sentence.
        where: manifest rows, column and file.
        fix: what to do about it.
        rows: numbers of the rows concerned, from 0, in the order of the pairs.
        side: the side concerned; None for both, or for rows as such.
        numbers: measured values behind it.
    """

    severity: Severity
    check: str
    message: str
    where: str
    fix: str
    rows: tuple[int, ...] = ()
    side: Side | None = None
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "severity": self.severity, "check": self.check, "message": self.message, "where": self.where,
            "fix": self.fix, "rows": list(self.rows), "side": self.side,
            "numbers": {name: round(value, 5) for name, value in self.numbers.items()},
        }  # fmt: skip


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first; within a severity check by check, and what a check found in its own order."""
    return tuple(sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), each.check)))


def by_check(findings: Iterable[Finding]) -> list[tuple[Severity, str, list[Finding]]]:
    """Ordered findings in groups of one severity and check."""
    grouped = groupby(ordered(findings), key=lambda each: (each.severity, each.check))
    return [(severity, check, list(group)) for (severity, check), group in grouped]
