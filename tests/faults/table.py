"""What came of all faults, as a table and as a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossdistill.files import write_json, write_text

from .scene import Outcome


def content(outcomes: list[Outcome], seed: int, seconds: float) -> dict[str, Any]:
    """Counts and all outcomes, for a file."""
    struck = [outcome for outcome in outcomes if outcome.strikes]
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "strikes": len(struck),
        "kills": sum(outcome.kind.startswith("SIGKILL") for outcome in struck),
        "as_expected": sum(outcome.holds for outcome in struck),
        "skipped": len(outcomes) - len(struck),
        "kinds": counts(outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def counts(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """For each kind of fault how often it struck, how often that ended as expected, and seconds."""
    found: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        line = found.setdefault(outcome.kind, {"strikes": 0, "as_expected": 0, "skipped": 0, "seconds": 0.0})
        line["strikes"] += outcome.strikes
        line["as_expected"] += outcome.holds and outcome.strikes
        line["skipped"] += not outcome.strikes
        line["seconds"] = round(line["seconds"] + outcome.seconds, 1)
    return found


def markdown(found: dict[str, Any]) -> str:
    """Both tables: counts by kind, and every moment."""
    lines = ["| fault | strikes | as expected | seconds |", "|---|---|---|---|"]
    for kind, line in found["kinds"].items():
        skipped = f" ({line['skipped']} skipped)" if line["skipped"] else ""
        lines.append(f"| {kind} | {line['strikes']}{skipped} | {line['as_expected']} | {line['seconds']:.0f} |")
    lines += [
        f"| **all** | **{found['strikes']}** | **{found['as_expected']}** | **{found['seconds']:.0f}** |",
        "",
        "| fault | moment or place | has to happen | happened |",
        "|---|---|---|---|",
    ]
    for each in found["outcomes"]:
        told = each["outcome"] if each["holds"] else f"**{each['outcome']}**"
        lines.append(f"| {each['kind']} | {_cell(each['moment'])} | {_cell(each['expected'])} | {_cell(told)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write(folder: Path, found: dict[str, Any]) -> None:
    """``faults.json`` and ``faults.md``."""
    write_json(folder / "faults.json", found)
    write_text(folder / "faults.md", markdown(found))
