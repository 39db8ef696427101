"""``audit.html``: one self-contained file in the look of a run's report, with pictures of what was found."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossdistill.audit.audit import Audit
from crossdistill.audit.duplicates import check_duplicates
from crossdistill.audit.finding import Finding, by_check
from crossdistill.audit.labels import label_counts
from crossdistill.audit.mismatch import Matching
from crossdistill.audit.rows import SIDES
from crossdistill.errors import CrossDistillError
from crossdistill.files import write_text
from crossdistill.pairs import SPLITS, Side
from crossdistill.report.render import templates

_SIDE = 96  # pixels of a picture
_DOUBTFUL, _CLUSTERS, _COPIES, _LISTED, _LABELS = 48, 24, 8, 40, 60  # that are shown
_RANKED = 12  # pairs that are shown where the signal is weak
_BINS = 44
_IN_GALLERIES = {"mismatched pair", "mismatched pairs"}  # shown in galleries of their own


def write_page(audit: Audit, path: Path) -> None:
    """Writes the page."""
    draw = _Pictures(audit)
    in_clusters = list(check_duplicates(audit.pairs, audit.clusters))
    page = (
        templates("crossdistill.audit", "crossdistill.report")
        .get_template("audit.html.j2")
        .render(
            audit=audit,
            content=audit.to_json(),
            groups=by_check(audit.findings),
            matching=_matching(audit, draw),
            clusters=_clusters(audit, in_clusters, draw),
            lists=_lists(audit, {(each.check, each.where, each.message) for each in in_clusters}, draw),
            labels=_labels(audit),
            splits=SPLITS,
            version=version("crossdistill"),
            licence=audit.pairs.licence,
        )
    )
    write_text(path, page)


@dataclass
class _Pictures:
    """Pictures of items as data URIs, each drawn once; nothing for what cannot be drawn."""

    audit: Audit
    drawn: dict[tuple[Side, str], str] = field(default_factory=dict)

    def __call__(self, row: int, side: Side) -> str:
        item = self.audit.pairs[row].item(side)
        if item is None:
            return ""
        key = side, str(item)
        if key not in self.drawn:
            stream = io.BytesIO()
            try:
                self.audit.modalities[side].picture(item, _SIDE).save(stream, format="PNG", optimize=True)
                text = base64.b64encode(stream.getvalue()).decode("ascii")
                self.drawn[key] = f"data:image/png;base64,{text}"
            except (CrossDistillError, OSError):
                self.drawn[key] = ""
        return self.drawn[key]

    def pair(self, row: int) -> dict[str, Any]:
        """Both sides of a row, and what is written below them."""
        pair = self.audit.pairs[row]
        return {
            "row": row, "source": self(row, "source"), "target": self(row, "target"), "split": pair.split or "",
            "label": pair.label or "", "where": pair.where or f"pair {row + 1}",
        }  # fmt: skip


def _matching(audit: Audit, draw: _Pictures) -> dict[str, Any]:
    found = audit.matching
    if isinstance(found, str):
        return {"reason": found, "pairs": [], "signal": ""}
    pairing = found.pairing
    places = found.named if pairing.signal == "clear" else found.ranked[:_RANKED].tolist()
    shown = []
    for place in places[:_DOUBTFUL] if pairing.signal != "none" else []:
        row = int(found.rows[place])
        partner = found.partners.get(row)
        shown.append(
            {
                **draw.pair(row),
                "probability": None if pairing.signal != "clear" else round(100 * float(pairing.doubt[place])),
                "chance": float(pairing.chance[place]),
                "partner": None if partner is None else draw.pair(partner),
            }
        )
    return {
        "reason": "", "pairs": shown, "signal": pairing.signal, "accuracy": pairing.accuracy, "share": pairing.share,
        "judged": len(found.rows), "named": len(found.named), "histogram": _histogram(found),
        "expected_right": float(sum(1 - pairing.doubt[place] for place in found.named)),
    }  # fmt: skip


def _histogram(found: Matching) -> dict[str, Any]:
    """Scores in bins: place and width in percent, heights of the named and the other pairs."""
    scores = found.pairing.score
    named = set(found.named)
    low, high = float(scores.min()), float(scores.max())
    width = max(high - low, 1e-9) / _BINS
    bins = [[0, 0] for _ in range(_BINS)]
    for place, score in enumerate(scores.tolist()):
        bins[min(_BINS - 1, int((score - low) / width))][place in named] += 1
    tallest = max(sum(each) for each in bins)
    bars = [{"right": 100 * right / tallest, "named": 100 * doubtful / tallest} for right, doubtful in bins]
    return {"bars": bars, "low": low, "high": high, "tallest": tallest}


def _clusters(audit: Audit, findings: Sequence[Finding], draw: _Pictures) -> dict[str, Any]:
    """The worst clusters with pictures of their first rows."""
    order = {"severe": 0, "warning": 1, "note": 2}
    both = sorted(zip(audit.clusters, findings, strict=True), key=lambda each: order[each[1].severity])
    shown = [
        {
            "finding": finding, "cluster": cluster, "more": max(0, len(cluster.rows) - _COPIES),
            "pairs": [draw.pair(row) for row in cluster.rows[:_COPIES]],
        }
        for cluster, finding in both[:_CLUSTERS]
    ]  # fmt: skip
    return {"shown": shown, "count": len(both)}


def _lists(audit: Audit, clustered: set[tuple[str, str, str]], draw: _Pictures) -> list[dict[str, Any]]:
    """All other findings, by severity and check, with pictures of what can be drawn."""
    found = []
    for severity, check, group in by_check(audit.findings):
        others = [each for each in group if (each.check, each.where, each.message) not in clustered]
        if not others or check in _IN_GALLERIES:
            continue
        lines = []
        for each in others[:_LISTED]:
            row = each.rows[0] if each.rows else None
            sides = [] if row is None else [side for side in SIDES if audit.pairs[row].item(side) is not None]
            lines.append({"finding": each, "pictures": [(side, draw(row, side)) for side in sides if row is not None]})
        found.append({"severity": severity, "check": check, "lines": lines, "more": len(others) - len(lines)})
    return found


def _labels(audit: Audit) -> dict[str, Any]:
    counts = label_counts(audit.pairs)
    largest = max((sum(each.values()) for each in counts.values()), default=1)
    bars = [
        {"label": label, "total": sum(each.values()), "widths": {s: 100 * n / largest for s, n in each.items()}}
        for label, each in list(counts.items())[:_LABELS]
    ]
    return {"bars": bars, "more": len(counts) - len(bars), "unlabelled": sum(p.label is None for p in audit.pairs)}
