"""``crossdistill export``: what was written, how well it agrees, and what 8 bits cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from crossdistill.cli.inputs import files_of
from crossdistill.deploy import Exported, export

_PLAIN_WIDTH = 160  # columns where there is no terminal to ask
_NAMES = {"knn": "k-NN", "zero_shot": "zero-shot"}


def export_run(
    run: Path, form: str, out: Path, modality: str, *, int8: bool, tolerance: float, given: str = "auto",
    items: Sequence[Path] = (),
) -> None:  # fmt: skip
    """Exports an encoder and says on standard output what came of it.

    Raises:
        CrossDistillError: see :func:`crossdistill.deploy.export`.
    """
    chosen = list(files_of(items)) if items else None
    done = export(run, out, form, modality=modality, input=given, int8=int8, tolerance=tolerance, items=chosen)
    for line in _lines(done):
        typer.echo(line)
    if "int8" in done.manifest:
        _show_int8(done.manifest["int8"])
    typer.echo(f"export: {done.folder}")


def _lines(done: Exported) -> list[str]:
    content, parity = done.manifest, done.parity
    given, made = content["input"], content["output"]
    opset = f" (opset {content['opset']})" if "opset" in content else ""
    lines = [f"{path.name}: {_size(path.stat().st_size)}" for path in done.files]
    lines[0] += opset
    return [
        *lines,
        f"input {given['name']}: {given['dtype']} {_shape(given['shape'])}, {given['meaning']}",
        f"output {made['name']}: {made['dtype']} {_shape(made['shape'])}, unit length",
        *(f"inside: {step}" for step in content["inside"]),
        *(f"left to do before it: {step}" for step in content["outside"]),
        f"agrees with PyTorch on {_count(parity.items, 'item')} of {_count(parity.shapes, 'shape')} in batches of "
        f"{', '.join(map(str, parity.batches))}: largest difference {parity.difference:.1e} "
        f"(limit {parity.tolerance:g}), lowest cosine {parity.cosine:.7f}",
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:,.2f} MB" if count >= 1e6 else f"{count / 1e3:,.1f} KB"


def _part(some: int, every: int) -> str:
    return str(some) if some == every else f"{some} of {every}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shape(axes: Sequence[str | int]) -> str:
    return f"({', '.join(map(str, axes))})"


def _show_int8(found: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    table = Table("", "fp32", "int8", "change", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    whole, small = found["results"]["fp32"], found["results"]["int8"]
    for name in whole:
        first, second = 100 * whole[name]["value"], 100 * small[name]["value"]
        label = _NAMES.get(name, name.replace("_", " ").replace(" r@", " R@"))
        table.add_row(f"{label}, %", f"{first:.1f}", f"{second:.1f}", f"{second - first:+.1f}")
    for size in found["milliseconds"]["fp32"]:
        first, second = (found["milliseconds"][name][size] for name in ("fp32", "int8"))
        verdict = "slower here" if second > first else "faster here"
        table.add_row(f"ms a batch of {size}", f"{first:.2f}", f"{second:.2f}", f"x {second / first:.2f}, {verdict}")
    first, second = (found["bytes"][name] for name in ("fp32", "int8"))
    table.add_row("size", _size(first), _size(second), f"x {second / first:.2f}")
    console.print(table)
    rows, every = found["rows"], found["of"]
    typer.echo(f"int8 measured on {_part(rows['test'], every['test'])} test rows, with "
               f"{_part(rows['train'], every['train'])} training rows for labels; largest difference "
               f"{found['difference']:.1e}, lowest cosine {found['cosine']:.5f}")  # fmt: skip
    for name, reason in found["left_out"].items():
        typer.echo(f"not measured: {name}, as {reason}")
