"""How a benchmark reports: one line a measurement, as text or as JSON, and a dated file of raw results."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from crossdistill.files import write_json
from crossdistill.pipeline.environment import describe_environment

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured value.

    Attributes:
        name: what was measured.
        value: the measurement.
        unit: of value and reference.
        reference: what it is compared with, measured in the same run.
        target: what we want of value / reference, such as ``>= 1.5``.
        holds: whether that is so.
    """

    name: str
    value: float
    unit: str
    reference: float
    target: str
    holds: bool

    def show(self, as_json: bool) -> None:
        """Prints it on standard output."""
        if as_json:
            print(json.dumps(asdict(self)), flush=True)
            return
        ratio = self.value / self.reference if self.reference else float("nan")
        verdict = "holds" if self.holds else "MISSED"
        print(
            f"{self.name}: {self.value:.4g} {self.unit} against {self.reference:.4g} (ratio {ratio:.2f}, "
            f"wanted {self.target}: {verdict})",
            flush=True,
        )


def at_least(name: str, value: float, reference: float, unit: str, ratio: float) -> Measurement:
    """A measurement whose value should be at least ``ratio`` times its reference."""
    return Measurement(
        name=name, value=value, unit=unit, reference=reference, target=f">= {ratio} x reference",
        holds=value >= ratio * reference,
    )  # fmt: skip


def at_most(name: str, value: float, reference: float, unit: str, ratio: float) -> Measurement:
    """A measurement whose value should be at most ``ratio`` times its reference."""
    return Measurement(
        name=name, value=value, unit=unit, reference=reference, target=f"<= {ratio} x reference",
        holds=value <= ratio * reference,
    )  # fmt: skip


def below(name: str, value: float, limit: float, unit: str, lowest: float = 0.0) -> Measurement:
    """A measurement with a limit of its own; the reference is that limit. An infinite one only records the value."""
    target = "recorded" if limit == float("inf") else f"<= {limit:g}" + (f", >= {lowest:g}" if lowest else "")
    reference = value if limit == float("inf") else limit
    holds = lowest <= value <= limit
    return Measurement(name=name, value=value, unit=unit, reference=reference, target=target, holds=holds)


def recorded(name: str, value: float, reference: float, unit: str) -> Measurement:
    """A measurement without a target."""
    return Measurement(name=name, value=value, unit=unit, reference=reference, target="recorded", holds=True)


def show_table(measurements: list[Measurement]) -> None:
    """All of them once more, below each other, on standard output."""
    table = Table("measured", "value", "reference", "ratio", "wanted", "", box=box.SIMPLE_HEAD)
    for column in table.columns[1:4]:
        column.justify = "right"
    for each in measurements:
        ratio = f"{each.value / each.reference:.2f}" if each.reference else ""
        verdict = "[green]holds" if each.holds else "[bold red]MISSED"
        value, reference = (f"{number:.4g} {each.unit}" for number in (each.value, each.reference))
        table.add_row(each.name, value, reference, ratio, each.target, verdict)
    Console(width=160).print(table)


def show_all(measurements: list[Measurement], as_json: bool) -> None:
    """All of them on standard output: an object a line, or a table."""
    if not as_json:
        show_table(measurements)
        return
    for each in measurements:
        each.show(as_json=True)


def save(name: str, content: dict[str, Any]) -> Path:
    """Writes raw results as ``results/DATE-NAME.json`` with the environment."""
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    path = RESULTS / f"{date}-{name}.json"
    write_json(path, {"date": date, "environment": describe_environment(), **content})
    return path
