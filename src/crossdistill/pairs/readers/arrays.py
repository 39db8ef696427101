"""Pairs from arrays whose first axis counts items: HDF5, NPZ, or an NPY file each. They are mapped, not loaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.errors import MissingDependencyError, PairsError, nearest
from crossdistill.files import atomic_path, cache_folder
from crossdistill.item import Item
from crossdistill.npy import npy_header
from crossdistill.pairs.readers.stores import Store, StoredItem, npy_bytes
from crossdistill.pairs.table import Pair, Pairs, split_name

_HDF5 = (".h5", ".hdf5", ".hdf", ".mat")
_MOST_UNPACKED = 1 << 37  # bytes of a compressed member; beyond it the file is hostile


class ArraysConfig(BaseModel):
    """Names of arrays in one file, or of NPY files. All have as many items along their first axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = Field(None, description="HDF5 or NPZ file; without it the names below are NPY files")
    source: str | None = Field(None, description="name of the source items, such as images")
    target: str | None = Field(None, description="name of the target items")
    label: str | None = Field(None, description="name of the labels: text or whole numbers; empty text is no label")
    group: str | None = Field(None, description="name of the groups: text or whole numbers")
    split: str | None = Field(None, description="name of the splits: train, val, test")
    mask: str | None = Field(None, description="name of the dense labels")
    channels_first: bool = Field(False, description="whether items are (C, H, W) instead of (H, W, C)")

    def resolved(self, base: Path) -> Self:
        """The same with absolute paths."""
        if self.file is not None:
            return self.model_copy(update={"file": (base / self.file).resolve()})
        names = ("source", "target", "label", "group", "split", "mask")
        update = {name: str((base / value).resolve()) for name in names if (value := getattr(self, name)) is not None}
        return self.model_copy(update=update)


class ArrayStore(Store):
    """One array; keys are positions along its first axis, items the content of NPY files."""

    def __init__(self, name: str, channels_first: bool) -> None:
        super().__init__(name)
        self.channels_first = channels_first
        self._process = 0

    def open(self) -> Any:
        """Something with ``shape`` and ``dtype`` that can be indexed."""
        raise NotImplementedError

    @property
    def opened(self) -> Any:
        """The open array: once in each process, as handles must not cross a fork."""
        if self._handle is None or self._process != os.getpid():
            self._handle, self._process = self.open(), os.getpid()
        return self._handle

    def read(self, key: int) -> bytes:
        """Reads one item."""
        return npy_bytes(self.array(key))

    def array(self, key: int) -> NDArray[Any]:
        """One item."""
        # A copy of what is mapped, which could not be written to; HDF5 gives a new array by itself.
        values = np.array(found) if isinstance(found := self.opened[key], np.memmap) else np.asarray(found)
        return np.moveaxis(values, 0, -1) if self.channels_first and values.ndim == 3 else values


class NpyStore(ArrayStore):
    """An array in NPY form, from ``offset`` of a file on."""

    def __init__(self, path: Path, offset: int, name: str, channels_first: bool) -> None:
        super().__init__(name, channels_first)
        self.path, self.offset = path, offset

    def open(self) -> NDArray[Any]:
        """Maps it."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            shape, fortran, dtype = npy_header(stream)
            place = stream.tell()
        order = "F" if fortran else "C"
        return np.memmap(self.path, dtype=dtype, mode="r", offset=place, shape=shape, order=cast(Any, order))


class Hdf5Store(ArrayStore):
    """A data set of an HDF5 file."""

    def __init__(self, path: Path, key: str, channels_first: bool) -> None:
        super().__init__(f"{path}#{key}", channels_first)
        self.path, self.key = path, key

    def open(self) -> Any:
        """Opens the file."""
        try:
            import h5py
        except ImportError as error:
            raise MissingDependencyError(
                "HDF5 files need the package h5py.", where=self.path, fix="pip install 'crossdistill[hdf5]'"
            ) from error
        file = h5py.File(self.path, "r")
        if self.key not in file or not isinstance(file[self.key], h5py.Dataset):
            raise KeyError(list(file))
        return file[self.key]


def read_arrays(config: ArraysConfig) -> Pairs:
    """One row for each position along the first axes.

    Raises:
        PairsError: a file or array is missing, damaged, or of another length; a label or split is none.
        MissingDependencyError: HDF5 without h5py.
    """
    if config.source is None and config.target is None:
        raise PairsError("Arrays need a source or a target.", where="pairs.arrays")
    stores = {
        name: _open(config, cast(str, getattr(config, name)))
        for name in ("source", "target", "mask", "label", "group", "split")
        if getattr(config, name) is not None
    }
    lengths = {name: len(store.opened) for name, store in stores.items()}
    count = next(iter(lengths.values()))
    if len(set(lengths.values())) > 1:
        raise PairsError(
            "The arrays differ in length.", where=config.file or "pairs.arrays", expected="as many items in each",
            received=", ".join(f"{name}: {length}" for name, length in lengths.items()),
        )  # fmt: skip
    texts = {name: _texts(stores[name]) for name in ("label", "group", "split") if name in stores}
    title = config.file.name if config.file is not None else "arrays"

    def item(name: str, index: int) -> Item | None:
        return StoredItem(stores[name], index, f"{index}.npy") if name in stores else None

    rows = tuple(
        Pair(
            source=item("source", index),
            target=item("target", index),
            mask=item("mask", index),
            label=texts["label"][index] if "label" in texts else None,
            group=texts["group"][index] if "group" in texts else None,
            split=split_name(texts["split"][index], f"{title}, item {index}") if "split" in texts else None,
            where=f"{title}, item {index}",
        )
        for index in range(count)
    )
    return Pairs(rows, name=config.file.stem if config.file is not None else "arrays")


def _open(config: ArraysConfig, name: str) -> ArrayStore:
    """The array called ``name``, opened once to see that it is one."""
    path = config.file if config.file is not None else Path(name)
    expected = "an HDF5 or NPZ file of arrays" if config.file is not None else "an NPY file"
    if not path.is_file():
        raise PairsError("A file of arrays is missing.", where=path, expected=expected)
    store: ArrayStore
    try:
        if config.file is None:
            store = NpyStore(path, 0, str(path), config.channels_first)
        elif path.suffix.lower() in _HDF5:
            store = Hdf5Store(path, name, config.channels_first)
        elif path.suffix.lower() == ".npz":
            store = _npz(path, name, config.channels_first)
        else:
            raise PairsError("This is no file of arrays.", where=path, expected="a name that ends in .h5 or .npz")
        shape = store.opened.shape
    except KeyError as error:
        known = [str(each) for each in error.args[0]]
        raise PairsError("The file has no such array.", where=path, expected=nearest(name, known),
                         received=name) from error  # fmt: skip
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise PairsError("The array cannot be read.", where=f"{path}, {name}", expected=expected,
                         received=error) from error  # fmt: skip
    if len(shape) == 0 or shape[0] == 0:
        raise PairsError("The array holds no items.", where=f"{path}, {name}", received=f"shape {shape}")
    return store


def _npz(path: Path, name: str, channels_first: bool) -> NpyStore:
    """A member of an NPZ file: in place where it is stored as it is, unpacked into the cache where it is compressed."""
    with zipfile.ZipFile(path) as archive:
        names = [each.removesuffix(".npy") for each in archive.namelist()]
        if name not in names:
            raise KeyError(names)
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type == zipfile.ZIP_STORED:
            with path.open("rb") as stream:
                stream.seek(info.header_offset + 26)  # the local header's own lengths of name and extra field
                lengths = stream.read(4)
            start = (
                info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            )
            return NpyStore(path, start, f"{path}#{name}", channels_first)
        if info.file_size > _MOST_UNPACKED:
            raise ValueError(f"{info.file_size:,} bytes unpacked, where {_MOST_UNPACKED:,} are the most")
        status = path.stat()
        key = hashlib.sha256(f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{name}".encode()).hexdigest()[:16]
        place = cache_folder() / "arrays" / f"{key}.npy"
        if not place.is_file():
            with archive.open(info) as member, atomic_path(place) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(member, out, 1 << 20)
    return NpyStore(place, 0, f"{path}#{name}", channels_first)


def _texts(store: ArrayStore) -> list[str | None]:
    """Labels, groups or splits: text of any kind, or whole numbers."""
    values = np.asarray(store.opened[:])
    if values.ndim != 1 or values.dtype.kind not in "iuSUO":
        raise PairsError(
            "An array of names holds no names.", where=store, expected="text or whole numbers, one each",
            received=f"{values.dtype}, shape {values.shape}",
        )  # fmt: skip
    return [_text(value) for value in values.tolist()]


def _text(value: Any) -> str | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip() or None
