"""The check for mismatched pairs: from what was gathered to findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossdistill.audit.agreement import principal
from crossdistill.audit.copies import Copies
from crossdistill.audit.finding import Finding
from crossdistill.audit.gather import TEACHER, Gathered
from crossdistill.audit.pairing import FEWEST, FEWEST_GROUPS, Pairing, View, judge_pairs
from crossdistill.audit.partners import better_partners
from crossdistill.audit.rows import SIDES, places
from crossdistill.evaluation.intervals import Floats, Ints
from crossdistill.pairs import Pairs, Side

NAMED = 0.5  # probability of being mismatched from which on a pair is named
_MANY = 0.03  # share of mismatched pairs that is certainly too much
_DIMENSIONS, _PER_DIMENSION = 128, 8  # of each view, and pairs that each needs


@dataclass(frozen=True)
class Matching:
    """What was found out about the pairs.

    Attributes:
        rows: that were judged, ``(N,)``.
        pairing: the judgement, in the order of ``rows``.
        partners: for doubtful rows the row whose target would fit.
        views: names of what was compared, such as ``("teacher", "look")``.
    """

    rows: Ints
    pairing: Pairing
    partners: dict[int, int]
    views: list[tuple[str, str]]

    @property
    def ranked(self) -> Ints:
        """Positions in ``rows``, the most suspicious first."""
        return np.argsort(self.pairing.score, kind="stable")

    @property
    def named(self) -> list[int]:
        """Positions of the pairs that are probably mismatched, the most suspicious first."""
        return [int(place) for place in self.ranked if self.pairing.doubt[place] >= NAMED]


def match(pairs: Pairs, seen: dict[Side, Gathered], copies: dict[Side, Copies]) -> Matching | str:
    """Judges all pairs of readable items; or the reason why that cannot be done."""
    readable = np.ones(len(pairs), dtype=bool)
    for side in SIDES:
        of_row = seen[side].of_row
        readable &= of_row >= 0
        readable[readable] &= seen[side].readable[of_row[readable]]
    rows = np.flatnonzero(readable)
    groups = _groups(pairs, rows, seen, copies)
    count = len(np.unique(groups))
    if len(rows) < FEWEST or count < FEWEST_GROUPS:
        return (
            f"{len(rows)} readable pairs in {count} groups are too few to judge them by each other "
            f"({FEWEST} in {FEWEST_GROUPS} are needed)"
        )
    dimensions = min(_DIMENSIONS, len(rows) // _PER_DIMENSION)
    spaces = {side: _spaces(seen[side], rows, dimensions) for side in SIDES}
    names = [(one, other) for one in spaces["source"] for other in spaces["target"]]
    views: list[View] = [(spaces["source"][one], spaces["target"][other]) for one, other in names]
    pairing = judge_pairs(views, groups)
    found = Matching(rows, pairing, {}, names)
    partners = better_partners(views, pairing, np.array(found.named, dtype=np.int64))
    return Matching(rows, pairing, {int(rows[a]): int(rows[b]) for a, b in partners.items()}, names)


def check_matching(pairs: Pairs, found: Matching) -> Iterator[Finding]:
    """One finding for each doubtful pair, and one for their share; none where the signal is not clear."""
    pairing, named = found.pairing, found.named
    if pairing.signal == "clear" and pairing.share.low > _MANY:
        yield Finding(
            severity="severe", check="mismatched pairs", where=pairs.name,
            message=f"About {100 * pairing.share.value:.1f}% of the pairs look mismatched (95%: "
            f"{100 * pairing.share.low:.1f} to {100 * pairing.share.high:.1f}%).",
            fix="look at the pairs named below; if they are wrong, look for a shift or a mix-up in how they were made",
            numbers={"share": pairing.share.value, "low": pairing.share.low, "high": pairing.share.high},
        )  # fmt: skip
    for place in named:
        row = int(found.rows[place])
        partner = found.partners.get(row)
        better = "" if partner is None else f" Its source fits the target of {places(pairs, [partner])}."
        yield Finding(
            severity="warning", check="mismatched pair", where=places(pairs, [row]), rows=(row,),
            message=f"The two sides look like those of a wrong pair ({_percent(pairing.doubt[place])}).{better}",
            fix="look at the pair; remove it, or mend it if it is wrong",
            numbers={"probability": float(pairing.doubt[place]), "score": float(pairing.score[place])},
        )  # fmt: skip


def _percent(probability: float) -> str:
    """Never 100: calibration knows nothing of right pairs that look like no other."""
    return f"{min(99, round(100 * probability))}%"


def _spaces(seen: Gathered, rows: Ints, dimensions: int) -> dict[str, Floats]:
    """Views of one side: what the teacher makes of it, and what it looks like; for the judged rows ``(N, k)``."""
    numbers = np.unique(seen.of_row[rows])
    blocks = {name: table[numbers] for name, table in seen.blocks.items()}
    place = np.searchsorted(numbers, seen.of_row[rows])
    look = [table for name, table in blocks.items() if name != TEACHER]
    found = {"teacher": principal([blocks[TEACHER]], dimensions)} if TEACHER in blocks else {}
    found["look"] = principal(look, dimensions)
    return {name: space[place] for name, space in found.items()}


def _groups(pairs: Pairs, rows: Ints, seen: dict[Side, Gathered], copies: dict[Side, Copies]) -> Ints:
    """Groups of the judged rows; copies belong together, or a fold could know a pair from its twin."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys = [np.array(pairs.group_ids)[rows], *(copies[side].cluster[seen[side].of_row[rows]] for side in SIDES)]
    offsets = np.cumsum([len(rows), *(int(key.max(initial=0)) + 1 for key in keys)])
    here = np.arange(len(rows))
    ends = np.concatenate([key + offset for key, offset in zip(keys, offsets, strict=False)])
    graph = coo_array((np.ones(len(ends)), (np.tile(here, len(keys)), ends)), shape=(int(offsets[-1]),) * 2)
    numbers: Ints = connected_components(graph, directed=False)[1][: len(rows)].astype(np.int64)
    return numbers
