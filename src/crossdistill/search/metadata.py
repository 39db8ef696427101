"""What a user knows of items, from a CSV or Parquet file with a column ``path``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crossdistill.errors import ConfigError

_PATH = "path"


def read_metadata(path: Path, ids: Sequence[str]) -> pa.Table:
    """The metadata of some items, joined by their paths.

    Args:
        path: of a CSV file, whose values stay text (an empty one is none), or of a Parquet file, whose types are kept.
        ids: of the items.

    Returns:
        A row for each of ``ids``, empty where the file has none, without the column ``path``.

    Raises:
        ConfigError: it cannot be read, has no column ``path`` or no other, or a path twice, or names none of ``ids``.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError("Metadata come as CSV or Parquet.", where=path, expected="NAME.csv or NAME.parquet")
    table = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if _PATH not in names or len(names) < 2 or repeated:
        raise ConfigError(
            "The metadata have the wrong columns.", where=path, expected="path, and others, each once",
            received=", ".join(map(str, names)) or "none",
        )  # fmt: skip
    named = [None if value is None else str(Path(str(value))) for value in table[_PATH].to_pylist()]
    known, seen = set(ids), set[str]()
    for number, each in enumerate(named):
        if each in known and each not in seen:
            seen.add(each)
            continue
        raise ConfigError(
            "The metadata name a path twice." if each in seen else "The metadata name a path that is no input.",
            where=f"{path}, row {number + 1} below the header", received=each,
            expected="each input once" if each in seen else "paths as the inputs are given, or as found in the folders",
            fix="remove one of the two rows" if each in seen else f"correct it; inputs are such as {_examples(ids)}",
        )  # fmt: skip
    rows = pc.index_in(pa.array(ids, pa.string()), value_set=pa.array(named, pa.string()))
    return table.drop_columns([_PATH]).take(rows)


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(ids[:2]) if ids else "none"


def _read_csv(path: Path) -> pa.Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("The metadata cannot be read as CSV.", where=path, received=error) from error
    header = rows[0] if rows else []
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise ConfigError(
                "A row of the metadata has another number of fields than the header.",
                where=f"{path}, row {number} below the header", expected=len(header), received=len(row),
                fix="quote values that contain a comma",
            )  # fmt: skip
    columns = [pa.array([value or None for value in column], pa.string()) for column in zip(*rows[1:], strict=True)]
    return pa.table(columns or [pa.array([], pa.string()) for _ in header], names=header)


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError("The metadata cannot be read as Parquet.", where=path, received=error) from error
