"""Pairs from a CSV or Parquet manifest with columns ``source,target[,label,split,group,mask]``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossdistill.errors import PairsError, nearest
from crossdistill.files import read_json
from crossdistill.pairs.table import SPLITS, Licence, Pair, Pairs, Split

_COLUMNS = ("source", "target", "label", "split", "group", "mask")
_SPLIT_NAMES: dict[str, Split] = {
    **{name: name for name in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}


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
    rows = [_pair(record, where, path.parent) for where, record in readers[path.suffix.lower()](path)]
    about = _about(path.with_name("dataset.json"))
    licence = about.get("licence")
    pairs = Pairs(tuple(rows), name=about.get("name", path.stem), licence=Licence(**licence) if licence else None)
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

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise PairsError("The manifest cannot be read as Parquet.", where=path, received=error) from error
    _check_columns(path, table.column_names)
    for number, record in enumerate(table.to_pylist(), start=1):
        yield f"{path.name}, row {number}", record


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


def _pair(record: Mapping[str, Any], where: str, base: Path) -> Pair:
    text = {name: str(value).strip() for name, value in record.items() if value is not None}
    split = text.get("split") or None
    if split is not None and split.lower() not in _SPLIT_NAMES:
        raise PairsError("Unknown split.", where=where, expected=f"one of {', '.join(SPLITS)}", received=repr(split))
    # An absolute path stays as it is; any other is relative to the manifest.
    source, target, mask = ((base / text[side]) if text.get(side) else None for side in ("source", "target", "mask"))
    return Pair(
        source=source,
        target=target,
        label=text.get("label") or None,
        split=_SPLIT_NAMES[split.lower()] if split else None,
        group=text.get("group") or None,
        mask=mask,
        where=where,
    )


def _check_files(pairs: Pairs) -> None:
    """Every file must be there before anything long begins."""
    missing = [
        f"{pair.where}, column {side}: {item}"
        for pair in pairs
        for side, item in (("source", pair.source), ("target", pair.target), ("mask", pair.mask))
        if isinstance(item, Path) and not item.is_file()
    ]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PairsError(
            f"A file of the manifest is missing{more}.",
            where=missing[0],
            expected="paths relative to the manifest's folder, or absolute ones",
        )
