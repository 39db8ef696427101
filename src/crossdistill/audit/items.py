"""What single items are like: unreadable, empty, silent, clipped, or unlike the others in size, rate or unit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from crossdistill.audit.finding import Finding, Severity
from crossdistill.audit.gather import Gathered
from crossdistill.audit.rows import places
from crossdistill.errors import CrossDistillError
from crossdistill.pairs import Pairs, Side

_EMPTY = 0.002  # share of values that differ from the background, below which an item is nearly empty
_DOMINANT = 0.9  # share of items from which on a value is the rule and others are exceptions
_UNLIKE, _OTHER_UNIT = 30.0, 300.0  # times the usual median: from which on it is strange, and must be another unit
_SILENT = -60.0  # decibels
# Shares of an item's values from which on there is something to say, and what.
_SHARES = {
    "missing": (0.5, "missing values", "of its values are missing"),
    "saturated": (0.05, "saturated", "of its values are at the largest one that its type can hold"),
    "clipped": (0.005, "clipped", "of its samples are at full scale"),
}
_FIXES = {
    "missing values": "check the sensor or the export, or leave the item out",
    "saturated": "export with a wider range, or leave the item out",
    "clipped": "record or export it less loud",
}
# Not compared one by one: they differ between good items.
_LOOSE = {"missing", "saturated", "clipped", "median", "loudness", "seconds", "width", "height", "format"}


def check_items(pairs: Pairs, seen: Gathered) -> Iterator[Finding]:
    """Findings about the items of one side."""
    side = seen.side
    for number, error in sorted(seen.errors.items()):
        yield unreadable(pairs, seen.rows[number], side, error)
    for number in np.flatnonzero(seen.readable & (seen.constant | (seen.busy < _EMPTY))).tolist():
        constant = bool(seen.constant[number])
        yield Finding(
            severity="warning" if constant else "note", check="empty", side=side,
            message=f"A {side} is {'constant: all its values are the same' if constant else 'nearly empty'}.",
            where=places(pairs, seen.rows[number], side), rows=tuple(seen.rows[number]),
            fix="leave it out, unless an empty item is what you mean", numbers={"busy": float(seen.busy[number])},
        )  # fmt: skip
    for name, (limit, check, words) in _SHARES.items():
        for number, facts in enumerate(seen.facts):
            share = float(facts.get(name, 0.0))
            if share > limit:
                yield Finding(
                    severity="warning", check=check, message=f"A {side}: {100 * share:.1f}% {words}.", side=side,
                    where=places(pairs, seen.rows[number], side), rows=tuple(seen.rows[number]), fix=_FIXES[check],
                    numbers={name: share},
                )  # fmt: skip
    for number, facts in enumerate(seen.facts):
        loudness = float(facts.get("loudness", 0.0))
        if loudness < _SILENT and not seen.constant[number]:
            yield Finding(
                severity="warning", check="silence", message=f"A {side} is nearly silent ({loudness:.0f} dBFS).",
                where=places(pairs, seen.rows[number], side), rows=tuple(seen.rows[number]), side=side,
                fix="leave it out, or check the recording", numbers={"loudness": loudness},
            )  # fmt: skip
    yield from _consistency(pairs, seen)


def unreadable(pairs: Pairs, rows: list[int], column: Side | str, error: CrossDistillError) -> Finding:
    """An item or mask that cannot be decoded."""
    reason = error.problem.rstrip(".")
    received = error.details.get("received")
    side: Side | None = "source" if column == "source" else "target" if column == "target" else None
    where = places(pairs, rows, side) if side else f"{places(pairs, rows)}, column {column}: {pairs[rows[0]].mask}"
    return Finding(
        severity="severe", check="unreadable", message=f"{reason}{f': {received}' if received else ''}.", where=where,
        fix=error.details.get("fix", "replace the file, or remove its row from the pairs"), rows=tuple(rows), side=side,
    )  # fmt: skip


def _consistency(pairs: Pairs, seen: Gathered) -> Iterator[Finding]:
    known = [number for number, facts in enumerate(seen.facts) if facts]
    values: dict[str, dict[str | float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number in known:
        facts = seen.facts[number]
        for name, value in facts.items():
            if name not in _LOOSE:
                values[name][value].append(number)
        if "width" in facts and "height" in facts:
            values["size"][f"{facts['width']} x {facts['height']}"].append(number)
        if "format" in facts:
            values["format"][facts["format"]].append(number)
    for name, found in values.items():
        yield from _one_fact(pairs, seen, name, found, "note" if name in ("size", "format") else "warning")
    medians = {number: float(seen.facts[number].get("median", 0.0)) for number in known}
    yield from _units(pairs, seen, {number: value for number, value in medians.items() if value > 0})


def _one_fact(
    pairs: Pairs, seen: Gathered, name: str, found: dict[str | float, list[int]], severity: Severity
) -> Iterator[Finding]:
    if len(found) < 2:
        return
    total = sum(len(numbers) for numbers in found.values())
    usual, most = max(found.items(), key=lambda each: len(each[1]))
    if len(most) < _DOMINANT * total:
        if name not in ("size", "format"):
            counts = Counter({value: len(numbers) for value, numbers in found.items()}).most_common(5)
            yield Finding(
                severity="note", check="inconsistent", side=seen.side, where=pairs.name,
                message=f"The {seen.side}s differ in {name}: {', '.join(f'{v} ({n})' for v, n in counts)}.",
                fix="check that they come from comparable recordings; all are brought to one form when they are read",
            )  # fmt: skip
        return
    for value, numbers in sorted(found.items(), key=lambda each: len(each[1])):
        if value != usual:
            rows = sorted(row for number in numbers for row in seen.rows[number])
            yield Finding(
                severity=severity, check="inconsistent", rows=tuple(rows), side=seen.side,
                where=places(pairs, rows, seen.side),
                message=f"{_count(numbers, seen.side)} {name} {value}; {usual} is usual ({len(most)} of {total}).",
                fix="check where they come from; convert them, or leave them out",
            )  # fmt: skip


def _units(pairs: Pairs, seen: Gathered, medians: dict[int, float]) -> Iterator[Finding]:
    if len(medians) < 3:
        return
    usual = float(np.median(list(medians.values())))
    for number, value in medians.items():
        ratio = value / usual
        far = max(ratio, 1 / ratio)
        if far >= _UNLIKE:
            yield Finding(
                severity="severe" if far >= _OTHER_UNIT else "warning", check="unit", side=seen.side,
                where=places(pairs, seen.rows[number], seen.side), rows=tuple(seen.rows[number]),
                message=f"The median of a {seen.side} is {value:.4g}, {ratio:.3g} times the usual one ({usual:.4g}).",
                fix="it is probably stored in another unit, such as metres instead of millimetres: convert it",
                numbers={"ratio": ratio},
            )  # fmt: skip


def _count(numbers: Sequence[int], side: str) -> str:
    return f"One {side} has" if len(numbers) == 1 else f"{len(numbers)} {side}s have"
