"""``crossdistill index``: build, add to, query and describe an index."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdistill.cli.adding import Adding
from crossdistill.cli.inputs import files_of
from crossdistill.console import say
from crossdistill.errors import ConfigError, PairsError, RunFolderError
from crossdistill.files import sha256_file
from crossdistill.item import Item
from crossdistill.pairs import Side
from crossdistill.pipeline import CrossModalModel, load
from crossdistill.search import Hit, Index, own_items
from crossdistill.search.description import NAME, Kind
from crossdistill.search.metadata import read_metadata
from crossdistill.search.rows import require_text

_PLAIN_WIDTH = 160  # columns where there is no terminal to ask
_CHUNK = 256  # queries asked at a time


def build(
    run: Path, inputs: Sequence[Path], modality: str, out: Path, kind: str, metadata: Path | None, device: str, *,
    skip: bool = False,
) -> None:  # fmt: skip
    """Makes an index of files, or of the run's own items, or goes on with one that was not finished."""
    if modality not in ("source", "target"):
        raise ConfigError("Unknown modality.", where="--modality", expected="source or target", received=modality)
    side = cast(Side, modality)
    if inputs:
        items: list[tuple[str, Item]] = _named(inputs, out)
        about = None
    else:
        own = own_items(run, side)
        items = [(each.id, each.item) for each in own]
        require_text([name for name, _ in items])
        known = {"label": [each.label for each in own], "split": [each.split for each in own]}
        about = pa.table(known, schema=pa.schema([(name, pa.string()) for name in known]))
    table = _with_metadata(about, metadata, items)
    model = load(run, device=device)
    marked = None if metadata is None else sha256_file(metadata)
    index = _half_built(out, model, side, kind, items, marked) or Index.create(
        out, model, side, cast(Kind, kind), half_built=True, metadata_sha256=marked
    )
    Adding(index, model, skip=skip).add(items, table)
    index.finish()
    typer.echo(f"{len(index)} items of {index.width} dimensions, searched {_how(index)}: {out}")


def add(
    folder: Path, inputs: Sequence[Path], metadata: Path | None, run: Path | None, device: str, *, skip: bool = False
) -> None:
    """Adds files to an index, and says how many were new."""
    index = _open(folder)
    items = _named(inputs, folder)
    table = _with_metadata(None, metadata, items)
    model = _model_of(index, run, device)
    before = len(index)
    adding = Adding(index, model, skip=skip)
    changed = adding.add(items, table)
    new, same = len(index) - before, len(items) - changed - adding.left_out
    typer.echo(f"{new} added, {changed - new} replaced, {same} left as they were: {folder}")


def query(
    folder: Path, inputs: Sequence[Path], modality: str, k: int, run: Path | None, *, as_json: bool, device: str
) -> None:
    """Prints the nearest items of each file."""
    index = _open(folder)
    items = _named(inputs)
    model = _model_of(index, run, device)
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        vectors = model.embed([item for _, item in chunk], cast(Side, modality))
        for (name, _), hits in zip(chunk, index.query(vectors, k), strict=True):
            if as_json:
                typer.echo(json.dumps(_record(name, hits), ensure_ascii=False, allow_nan=False, default=str))
            else:
                _show(console, name, hits, index.columns)


def mend(folder: Path) -> None:
    """Makes the graph of an index anew."""
    index = Index.mend(folder)
    typer.echo(f"{len(index)} items, searched {_how(index)}: {folder}")


def info(folder: Path, *, as_json: bool) -> None:
    """Prints what an index holds, as lines or as JSON."""
    index = Index.open(folder)
    about = index.description
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    if as_json:
        told = {
            "folder": str(folder), "items": len(index), "width": index.width, "modality": index.modality,
            "kind": about.kind, "half_built": about.half_built, "metadata": index.columns, "bytes": size,
            "graph_items": None if index.graph is None else index.graph.rows, "run": about.run_absolute,
            "encoders": {side: mark.model_dump() for side, mark in about.encoders.items()},
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    state = "half built: the same `crossdistill index build` again goes on" if about.half_built else "whole"
    typer.echo(f"{folder}: {state}")
    typer.echo(f"  {len(index)} {index.modality} items of {index.width} dimensions, {size:,} bytes")
    typer.echo(f"  kind {about.kind}: searched {_how(index)}")
    typer.echo(f"  metadata: {', '.join(index.columns) or 'none'}")
    typer.echo(f"  run: {about.run_absolute}")
    for side, mark in about.encoders.items():
        typer.echo(f"  {side} encoder: {mark.origin}, weights {mark.weights_hash[:12]}")


def _named(inputs: Sequence[Path], index: Path | None = None) -> list[tuple[str, Item]]:
    """Files with their paths as ids, each once; without those of the index itself, where it lies below an input."""
    own = index.resolve() if index is not None and (index / NAME).is_file() else None
    found = {str(file): file for file in files_of(inputs) if own is None or own not in file.resolve().parents}
    if not found:
        raise PairsError("The inputs hold no files but the index.", where=index, fix="name the files to add")
    require_text(list(found))
    return list(found.items())


def _with_metadata(about: pa.Table | None, path: Path | None, items: Sequence[tuple[str, Item]]) -> pa.Table | None:
    """All columns of the metadata, a row for each item; None without any."""
    if path is None:
        return about
    given = read_metadata(path, [name for name, _ in items])
    if about is not None:  # label and split of the run's own items
        for name in about.column_names:
            if name not in given.column_names:
                given = given.append_column(name, about[name])
    return given


def _open(folder: Path) -> Index:
    index = Index.open(folder)
    if index.description.half_built:
        raise RunFolderError(
            "The index is half built.", where=folder, fix="run the same crossdistill index build again: it goes on"
        )
    return index


def _model_of(index: Index, run: Path | None, device: str) -> CrossModalModel:
    """The run that made the index.

    Raises:
        RunFolderError: it is gone, or is another one.
    """
    place = run or Path(index.description.run_absolute)
    if not place.is_dir():
        raise RunFolderError(
            "The run that made the index is not where it was.", where=place, fix="say where it is now: --run RUN"
        )
    model = load(place, device=device)
    index.check(model)
    return model


def _half_built(
    out: Path, model: CrossModalModel, side: Side, kind: str, items: Sequence[tuple[str, Item]], metadata: str | None
) -> Index | None:
    """What a killed build of the same index left in ``out``; None where it left nothing.

    Raises:
        RunFolderError: another index lies there half built.
    """
    if not (out / NAME).is_file():
        return None
    index = Index.open(out)
    if not index.description.half_built:
        return None  # a whole one: whoever creates refuses it
    index.check(model)
    fix = "finish that one with its own command, choose another folder, or delete this one"
    other = set(index.ids) - {name for name, _ in items}
    if index.modality != side or index.description.kind != kind or other:
        raise RunFolderError(
            "Another index lies half built in the output folder.", where=out,
            expected=f"{side} items, kind {kind}, of these inputs",
            received=f"{index.modality} items, kind {index.description.kind}"
            + (f", such as {min(other)}" if other else ""), fix=fix,
        )  # fmt: skip
    if index.description.metadata_sha256 != metadata:
        begun = index.description.metadata_sha256
        raise RunFolderError(
            "The half-built index in the output folder was begun with other metadata.", where=out,
            expected="none" if begun is None else f"a file with the SHA-256 {begun[:12]}",
            received="none" if metadata is None else f"one with {metadata[:12]}", fix=fix,
        )  # fmt: skip
    say(f"going on with {len(index)} items that are in {out} already")
    return index


def _how(index: Index) -> str:
    if index.graph is None:
        return "exactly"
    return f"by a graph over {index.graph.rows} of them" + (
        ", the others exactly" if index.graph.rows < len(index) else ""
    )


def _record(name: str, hits: Sequence[Hit]) -> dict[str, Any]:
    found = [
        {"rank": rank, "id": hit.id, "score": round(hit.score, 6), "metadata": _plain(hit.metadata)}
        for rank, hit in enumerate(hits, start=1)
    ]
    return {"query": name, "hits": found}


def _plain(value: Any) -> Any:
    """Without values that JSON has not."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(console: Console, name: str, hits: Sequence[Hit], columns: Sequence[str]) -> None:
    table = Table(title=escape(name), title_justify="left", header_style="bold")
    table.add_column("", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("id", overflow="fold")
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    for rank, hit in enumerate(hits, start=1):
        cells = ("" if (value := hit.metadata.get(column)) is None else escape(str(value)) for column in columns)
        table.add_row(str(rank), f"{hit.score:.3f}", escape(hit.id), *cells)
    console.print(table)
