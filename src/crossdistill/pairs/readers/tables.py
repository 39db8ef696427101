"""Pairs from tables whose cells hold the items themselves: Parquet with bytes, and Hugging Face ``datasets``."""

from __future__ import annotations

import bisect
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.console import say
from crossdistill.errors import MissingDependencyError, PairsError, nearest
from crossdistill.files import atomic_path, cache_folder
from crossdistill.pairs.readers.stores import Store, StoredItem, npy_bytes, suffix_of
from crossdistill.pairs.table import Pair, Pairs, split_name

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 64  # in a batch of the mapped copy
_BATCHES = 1024  # whose places in the file are remembered


class CellStore(Store):
    """Columns of bytes as a mapped Arrow file; keys are ``(column, row)``."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.path = path

    def read(self, key: tuple[str, int]) -> bytes:
        """Reads one cell."""
        column, row = key
        reader, starts, opened = self._open()
        number = bisect.bisect_right(starts, row) - 1
        if number not in opened:
            if len(opened) >= _BATCHES:
                opened.clear()
            opened[number] = reader.get_batch(number)  # mapped: nothing is read yet
        cell = opened[number].column(column)[row - starts[number]]
        content = cell["bytes"] if hasattr(cell, "keys") else cell
        if not content.is_valid:
            return _content(cell.as_py())
        return bytes(content.as_buffer())

    def items(self, column: str) -> list[StoredItem | None]:
        """The items of a column, None where a cell is empty; named after their paths where these are there."""
        import pyarrow as pa

        reader, starts, _ = self._open()
        found: list[StoredItem | None] = []
        ending: str | None = None
        for start, number in zip(starts, range(reader.num_record_batches), strict=True):
            values = reader.get_batch(number).column(column)
            paths = values.field("path") if pa.types.is_struct(values.type) and _has_path(values.type) else None
            for place, valid in enumerate(values.is_valid().to_pylist()):
                if not valid:
                    found.append(None)
                    continue
                path = paths[place].as_py() if paths is not None else None
                if path is None and ending is None:
                    ending = suffix_of(_content(values[place].as_py()))
                suffix = Path(path).suffix if path else ending
                found.append(StoredItem(self, (column, start + place), f"{column}/{start + place}{suffix}"))
        return found

    def _open(self) -> tuple[Any, list[int], dict[int, Any]]:
        if self._handle is None:
            import pyarrow as pa

            reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
            starts = [0]
            for number in range(reader.num_record_batches - 1):
                starts.append(starts[-1] + reader.get_batch(number).num_rows)
            self._handle = reader, starts, {}
        handle: tuple[Any, list[int], dict[int, Any]] = self._handle
        return handle


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds items: bytes, or bytes with a path as ``datasets`` writes pictures."""
    from pyarrow import types

    if types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def map_cells(path: Path, columns: list[str]) -> CellStore:
    """The columns of bytes of a Parquet file as a store.

    Parquet is compressed in blocks of rows, so that one cell costs a block: the columns are written once into the
    cache, uncompressed, and mapped.

    Raises:
        PairsError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    status = path.stat()
    key = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{columns}"
    place = cache_folder() / "cells" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.arrow"
    if not place.is_file():
        say(f"mapping {path.name}")
        try:
            file = pq.ParquetFile(path)
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            with atomic_path(place) as temporary, pa.OSFile(str(temporary), "wb") as out, pa.ipc.new_file(
                out, schema
            ) as writer:  # fmt: skip
                for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                    writer.write_batch(batch)
        except pa.ArrowException as error:
            raise PairsError("The Parquet file is damaged.", where=path, received=error) from error
    return CellStore(str(path), place)


def _has_path(kind: pa.DataType) -> bool:
    return bool(kind.get_field_index("path") >= 0)


class HubConfig(BaseModel):
    """A data set of the package ``datasets``: a folder that ``save_to_disk`` wrote, or a name on the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="folder, or name on the hub")
    name: str | None = Field(None, description="configuration of the data set")
    revision: str | None = Field(None, description="of the data set on the hub: a branch, tag or commit")
    split: str | None = Field(None, description="use this split alone, and divide it; default: all, as they are")
    source: str | None = Field(None, description="column of the source items")
    target: str | None = Field(None, description="column of the target items")
    label: str | None = Field(None, description="column of the labels")
    group: str | None = Field(None, description="column of the groups")
    mask: str | None = Field(None, description="column of the dense labels")

    def resolved(self, base: Path) -> Self:
        """The same with an absolute path where the data set is a folder."""
        folder = base / self.path
        return self.model_copy(update={"path": str(folder.resolve())}) if folder.is_dir() else self


class HubStore(Store):
    """One split of such a data set; keys are ``(column, row)``."""

    def __init__(self, name: str, data: Any) -> None:
        super().__init__(name)
        self.data = data

    def read(self, key: tuple[str, int]) -> bytes:
        """Reads one cell."""
        column, row = key
        return _content(self.data[row][column])


def read_hub(config: HubConfig) -> Pairs:
    """The rows of the data set; its own splits are kept unless ``split`` names one.

    Raises:
        PairsError: there is no such data set or column, or a split has a name that means none.
        MissingDependencyError: ``datasets`` is not installed.
    """
    rows: list[Pair] = []
    for split, data in _load(config).items():
        data = _undecoded(data)
        store = HubStore(f"{config.path}/{split}", data)
        names = [name for name in (config.source, config.target, config.label, config.group, config.mask) if name]
        for name in names:
            if name not in data.column_names:
                raise PairsError("The data set has no such column.", where=config.path,
                                 expected=nearest(name, data.column_names), received=name)  # fmt: skip
        chosen = None if config.split else split_name(split, config.path)
        labels = _names(data, config.label)
        groups = _names(data, config.group)
        endings = {name: _ending(data, name) for name in (config.source, config.target, config.mask) if name}
        for row in range(len(data)):
            where = f"{config.path}, {split}, row {row}"
            source, target, mask = (
                StoredItem(store, (name, row), f"{name}/{row}{endings[name]}") if name else None
                for name in (config.source, config.target, config.mask)
            )
            rows.append(Pair(source=source, target=target, mask=mask, label=labels[row], group=groups[row],
                             split=chosen, where=where))  # fmt: skip
    return Pairs(tuple(rows), name=Path(config.path).name)


def _load(config: HubConfig) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "Hugging Face data sets need the package datasets.", fix="pip install 'crossdistill[hub]'"
        ) from error
    try:
        if any((Path(config.path) / name).is_file() for name in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(config.path)
        else:
            found = datasets.load_dataset(config.path, config.name, revision=config.revision)
    except Exception as error:  # the package raises errors of many others: hub, fsspec, arrow
        raise PairsError(
            "The data set cannot be loaded.", where=config.path, received=f"{type(error).__name__}: {error}",
            expected="a folder that save_to_disk wrote, or a name on the hub",
        ) from error  # fmt: skip
    splits: dict[str, Any] = dict(found) if isinstance(found, dict) else {"train": found}
    if config.split is None and not isinstance(found, dict):
        config = config.model_copy(update={"split": "train"})
    if config.split is not None:
        if config.split not in splits:
            raise PairsError("The data set has no such split.", where=config.path,
                             expected=nearest(config.split, splits), received=config.split)  # fmt: skip
        return {config.split: splits[config.split]}
    return splits


def _undecoded(data: Any) -> Any:
    """Pictures and sounds as the bytes that they are stored as, which our modalities decode."""
    import datasets

    for name, feature in data.features.items():
        if isinstance(feature, (datasets.Image, datasets.Audio)):
            data = data.cast_column(name, type(feature)(decode=False))
    return data


def _names(data: Any, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * len(data)
    feature = data.features[column]
    to_text = getattr(feature, "int2str", None)
    values = data[column]
    return [
        None if value is None or value == -1 else str(to_text(value) if to_text else value).strip() or None
        for value in values
    ]


def _ending(data: Any, column: str) -> str:
    """The ending of a column's items, by the first of them."""
    cell = data[0][column] if len(data) else None
    if isinstance(cell, dict) and cell.get("path"):
        return Path(cell["path"]).suffix
    try:
        return suffix_of(_content(cell))
    except (OSError, ValueError):
        return ""


def _content(cell: Any) -> bytes:
    """What a cell holds, as the content of a file."""
    if isinstance(cell, dict):
        if cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        if cell.get("path"):
            return Path(cell["path"]).read_bytes()
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell)
    if isinstance(cell, (list, np.ndarray)):
        return npy_bytes(np.asarray(cell))
    raise ValueError("the cell is empty" if cell is None else f"a cell of type {type(cell).__name__}")
