"""Copies as a matter of rows: whether both sides are copies or one, and what the copies cross."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossdistill.audit.copies import Copies
from crossdistill.audit.finding import Finding, Severity
from crossdistill.audit.gather import Gathered
from crossdistill.audit.rows import places, splits_of
from crossdistill.evaluation.intervals import Ints
from crossdistill.pairs import Pairs, Side


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Rows that are copies of each other.

    Attributes:
        rows: in their order.
        side: where they are copies; None for both sides.
        exact: whether their bytes are equal.
        crosses: ``splits``, ``groups`` or nothing.
        similarity: the smallest similarity of a row to its nearest copy.
    """

    rows: tuple[int, ...]
    side: Side | None
    exact: bool
    crosses: str
    similarity: float


def clusters(pairs: Pairs, seen: dict[Side, Gathered], copies: dict[Side, Copies]) -> list[Cluster]:
    """Clusters of rows, those of both sides first, then those of one side alone; the largest first."""
    ids = {side: _of_rows(seen[side], copies[side].cluster) for side in seen}
    exact = {side: _of_rows(seen[side], copies[side].exact) for side in seen}
    files = {side: seen[side].of_row for side in seen}
    found: list[Cluster] = []
    both: set[tuple[int, ...]] = set()
    for members in _members(np.stack([ids["source"], ids["target"]], axis=1)):
        if len({(files["source"][row], files["target"][row]) for row in members}) > 1:
            both.add(tuple(members))
            same = all(len({exact[side][row] for row in members}) == 1 for side in seen)
            found.append(_cluster(pairs, members, None, same, min(_closest(seen, copies, members))))
    for side in seen:
        for members in _members(ids[side][:, None]):
            different = {files[side][row] for row in members}
            if len(different) > 1 and tuple(members) not in both:
                same = len({exact[side][row] for row in members}) == 1
                near = _closest({side: seen[side]}, {side: copies[side]}, members)
                found.append(_cluster(pairs, members, side, same, min(near)))
    order = {None: 0, "source": 1, "target": 2}
    return sorted(found, key=lambda each: (order[each.side], -len(each.rows), each.rows))


def check_duplicates(pairs: Pairs, found: list[Cluster]) -> Iterator[Finding]:
    """One finding a cluster."""
    for cluster in found:
        what = f"{len(cluster.rows)} rows have {'equal' if cluster.exact else 'nearly equal'} "
        what += "sources and targets" if cluster.side is None else f"{cluster.side}s"
        check = "leak" if cluster.crosses == "splits" else "duplicate" if cluster.exact else "near-duplicate"
        told = {"splits": ", in different splits", "groups": ", in different groups"}.get(cluster.crosses, "")
        yield Finding(
            severity=_severity(cluster), check=check, message=f"{what}{told}.", where=places(pairs, list(cluster.rows)),
            fix=_FIXES[cluster.crosses], rows=cluster.rows, side=cluster.side,
            numbers={"similarity": cluster.similarity},
        )  # fmt: skip


_FIXES = {
    "splits": "give these rows one group, so that no split separates them, or keep one of them",
    "groups": "give these rows one group, or keep one of them",
    "": "nothing, as no split separates a group; keep one of them if they are there by mistake",
}


def _severity(cluster: Cluster) -> Severity:
    """One step milder where one side alone is nearly equal: that is often how things are, such as a car and a taxi."""
    steps: tuple[Severity, ...] = ("severe", "warning", "note")
    step = {"splits": 0, "groups": 1}.get(cluster.crosses, 2)
    milder = cluster.side is not None and not cluster.exact
    return steps[min(2, step + milder)]


def _cluster(pairs: Pairs, rows: list[int], side: Side | None, exact: bool, similarity: float) -> Cluster:
    crosses = "splits" if splits_of(pairs, rows) > 1 else ""
    if not crosses and len({pairs.group_ids[row] for row in rows}) > 1:
        crosses = "groups"
    return Cluster(rows=tuple(rows), side=side, exact=exact, crosses=crosses, similarity=similarity)


def _of_rows(seen: Gathered, numbers: Ints) -> Ints:
    """Per item to per row; rows without a readable item get numbers of their own, below zero."""
    alone = -1 - np.arange(len(seen.of_row))
    if not len(numbers):
        return alone
    readable = (seen.of_row >= 0) & seen.readable[seen.of_row]
    return np.where(readable, numbers[seen.of_row], alone)


def _members(keys: Ints) -> list[list[int]]:
    """Rows of equal keys ``(N, K)``, where there are several and none of the keys is a row's own."""
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, key in enumerate(keys.tolist()):
        if min(key) >= 0:
            found[tuple(key)].append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def _closest(seen: dict[Side, Gathered], copies: dict[Side, Copies], rows: list[int]) -> list[float]:
    return [float(copies[side].closest[seen[side].of_row[row]]) or 1.0 for side in seen for row in rows]
