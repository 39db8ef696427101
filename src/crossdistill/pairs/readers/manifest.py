"""Pairs from a CSV or Parquet manifest with columns ``source,target[,label,split,group,mask]``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossdistill.errors import PairsError, nearest
from crossdistill.files import read_json
from crossdistill.item import Item
from crossdistill.pairs.readers.lines import LineStore, line_item
from crossdistill.pairs.readers.stores import StoredItem
from crossdistill.pairs.table import Licence, Pair, Pairs, are_checked, split_name

_COLUMNS = ("source", "target", "label", "split", "group", "mask")


def read_manifest(path: Path) -> Pairs:
    """Reads a manifest; paths in it are relative to its folder. Row 1 is the header (CSV) or the first row (Parquet).

    Raises:
        PairsError: the file is missing, is not a table, lacks a column, names a missing file, or its rows do not make
            a valid set of pairs (see :class:`~crossdistill.pairs.table.Pairs`).
    """
    if not path.is_file():
        raise PairsError("The manifest is missing.", where=path, expected="a CSV or Parquet file")
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".pq": _read_parquet}
    if path.suffix.lower() not in readers:
        raise PairsError(
            "The manifest has an unknown type.", where=path, expected="a name that ends in .csv or .parquet"
        )
    base, stores = str(path.parent), dict[str, LineStore]()
    rows = [_pair(record, where, base, stores) for where, record in readers[path.suffix.lower()](path)]
    about = _about(path.with_name("dataset.json"))
    licence = about.get("licence")
    pairs = Pairs(tuple(rows), name=about.get("name", path.stem), licence=Licence(**licence) if licence else None)
    if are_checked():
        _check_files(pairs)
    return pairs


def _about(file: Path) -> dict[str, Any]:
    """What ``crossdistill data build`` wrote beside a manifest; empty where there is nothing."""
    if not file.is_file():
        return {}
    about: dict[str, Any] = read_json(file)
    return about


def _read_csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_columns(path, reader.fieldnames or ())
            for record in reader:
                where = f"{path.name}, row {reader.line_num}"
                if None in record or None in record.values():
                    raise PairsError(
                        "A row has another number of fields than the header.",
                        where=where,
                        expected=f"{len(reader.fieldnames or ())} fields",
                        fix="quote values that contain a comma",
                    )
                yield where, record
    except UnicodeDecodeError as error:
        raise PairsError("The manifest is not text.", where=path, expected="CSV in UTF-8", received=error) from error
    except csv.Error as error:
        raise PairsError("The manifest cannot be read as CSV.", where=path, received=error) from error


def _read_parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from crossdistill.pairs.readers.tables import holds_bytes, map_cells

    try:
        schema = pq.read_schema(path)
        _check_columns(path, schema.names)
        inside = [name for name in ("source", "target", "mask") if name in schema.names
                  and holds_bytes(schema.field(name).type)]  # fmt: skip
        table = pq.read_table(path, columns=[name for name in schema.names if name not in inside])
        count = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise PairsError("The manifest cannot be read as Parquet.", where=path, received=error) from error
    records = table.to_pylist() if table.num_columns else [{} for _ in range(count)]
    store = map_cells(path, inside) if inside else None
    columns = {name: store.items(name) for name in inside} if store is not None else {}
    for number, record in enumerate(records):
        cells = {name: items[number] for name, items in columns.items()}
        yield f"{path.name}, row {number + 1}", {**record, **cells}


def _check_columns(path: Path, names: Any) -> None:
    names = list(names)
    unknown = [name for name in names if name not in _COLUMNS]
    missing = [name for name in ("source", "target") if name not in names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if missing or unknown or repeated:
        parts = [f"missing: {', '.join(missing)}"] if missing else []
        parts += [f"unknown: {name!r} ({nearest(str(name), _COLUMNS)})" for name in unknown]
        parts += [f"twice: {name}" for name in repeated]
        raise PairsError(
            "The manifest has the wrong columns.",
            where=path,
            expected="source,target and optionally label,split,group,mask",
            received="; ".join(parts),
        )


def _pair(record: Mapping[str, Any], where: str, base: str, stores: dict[str, LineStore]) -> Pair:
    def text(name: str) -> str | None:
        value = record.get(name)
        return None if value is None else str(value).strip() or None

    return Pair(
        source=_item(record.get("source"), base, stores),
        target=_item(record.get("target"), base, stores),
        label=text("label"),
        split=split_name(text("split"), where),
        group=text("group"),
        mask=_item(record.get("mask"), base, stores),
        where=where,
    )


def _item(value: Any, base: str, stores: dict[str, LineStore]) -> Item | None:
    """What a cell names: nothing, an item that a table holds, a line of a file, or a file, relative to ``base``."""
    if value is None or isinstance(value, StoredItem):
        return value
    path = str(value).strip()
    if not path:
        return None
    full = os.path.join(base, path)  # noqa: PTH118  (five times as fast)
    return (line_item(full, stores) if "#" in path else None) or Path(full)


def _check_files(pairs: Pairs) -> None:
    """Every file must be there before anything long begins."""
    folders: dict[str, set[str]] = {}
    missing: list[str] = []
    for pair in pairs:
        for column, item in (("source", pair.source), ("target", pair.target), ("mask", pair.mask)):
            if isinstance(item, StoredItem) and isinstance(item.store, LineStore):
                item = item.store.path
            if not isinstance(item, Path):
                continue
            folder, name = os.path.split(item)
            if folder not in folders:
                folders[folder] = _names(folder)
            if name not in folders[folder] and not item.is_file():
                missing.append(f"{pair.where}, column {column}: {item}")
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PairsError(
            f"A file of the manifest is missing{more}.",
            where=missing[0],
            expected="paths relative to the manifest's folder, or absolute ones",
        )


def _names(folder: str) -> set[str]:
    """The files of a folder: one look at it is faster than one at each of its files."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
