"""``crossdistill compare``: methods against each other, and a table of what is told apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from crossdistill.compare import compare, named_methods, read_comparison
from crossdistill.compare.findings import Findings
from crossdistill.compare.page import write_pages
from crossdistill.compare.tables import headlines, rows_of
from crossdistill.errors import ConfigError
from crossdistill.report.table import label_of

_PLAIN_WIDTH = 130
_COLOURS = {"ahead": "green", "behind": "red"}
_SIGNS = {"ahead": " ▲", "behind": " ▼"}


def compare_methods(
    config: Path,
    overrides: list[str],
    *,
    objectives: str | None,
    controls: str | None,
    seeds: int | None,
    trials: int | None,
    reference: str | None,
    jobs: int | None,
    keep: bool,
    as_json: bool,
) -> None:
    """Compares, writes ``compare.json``, ``compare.html`` and ``compare.md``, and prints the table or the JSON.

    Raises:
        CrossDistillError: the configuration, the pairs or a method cannot be had.
    """
    run, settings = read_comparison(config, overrides)
    named = named_methods(_names(objectives), _names(controls))
    changes = {"methods": named or settings.methods, "seeds": seeds, "trials": trials, "reference": reference}
    settings = settings.model_copy(update={key: value for key, value in changes.items() if value is not None})
    if settings.reference is not None and settings.methods and settings.reference not in settings.methods:
        raise ConfigError(
            "The reference is none of the methods.", where="--reference", received=settings.reference,
            expected=", ".join(settings.methods),
        )  # fmt: skip
    findings = compare(run, settings, jobs=jobs, keep=keep)
    write_pages(findings, run.out)
    if as_json:
        typer.echo(json.dumps(findings.to_json(), ensure_ascii=False, allow_nan=False))
        return
    _show(findings)
    typer.echo(f"report: {run.out / 'compare.html'}")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _show(findings: Findings) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    metrics = headlines(findings)
    table = Table(box=box.SIMPLE_HEAD, title=f"{findings.pairs['name']}, {findings.seeds} seeds, percent",
                  title_justify="left")  # fmt: skip
    table.add_column("method", no_wrap=True)
    for each in metrics:
        table.add_column(label_of(each.name), justify="right")
    for row in rows_of(findings, metrics):
        cells = []
        for cell in row.cells:
            colour, sign = _COLOURS.get(cell.verdict), _SIGNS.get(cell.verdict, "")
            value = f"[bold]{cell.value}[/]" if cell.best and cell.value else cell.value
            value = f"[{colour}]{value}{sign}[/]" if colour else value
            cells.append(f"{value}\n[dim]{cell.interval}[/]" if cell.interval else value)
        table.add_row(row.method, *cells, style="bold" if row.method == findings.reference else None)
    console.print(table)
    console.print(
        f"▲ better, ▼ worse than {findings.reference}: p < 0.05, Holm's correction over the methods; 95% intervals "
        "over seeds and test groups", style="dim",
    )  # fmt: skip
    for name, reasons in findings.failed.items():
        console.print(f"{name} has no result: {reasons[0]}", style="yellow", markup=False)
