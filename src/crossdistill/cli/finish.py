"""The end of a run on the terminal: the table of results, and where the report is."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table as RichTable

from crossdistill.files import read_json
from crossdistill.report.table import build_table

_PLAIN_WIDTH = 160  # columns where there is no terminal to ask


def finish(root: Path) -> None:
    """Prints the results of a run on standard output."""
    table = build_table(read_json(root / "metrics.json"), headlines=True)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    shown = RichTable(title="percent, with 95% intervals", title_justify="left", header_style="bold")
    shown.add_column("")
    for column in table.columns:
        shown.add_column(f"{column.label}\nn = {column.items}", justify="right")
    last_role = None
    for row in table.rows:
        if last_role is not None and row.role != last_role:
            shown.add_section()
        last_role = row.role
        cells = [
            f"[bold]{cell.value}[/bold]\n[dim]{cell.interval}[/dim]"
            if cell.best
            else f"{cell.value}\n[dim]{cell.interval}[/dim]"
            for cell in row.cells
        ]
        shown.add_row(f"[bold]{row.name}[/bold]\n[dim]{row.role}[/dim]", *cells)
    console.print(shown)
    typer.echo(f"report: {root / 'report.html'}")
