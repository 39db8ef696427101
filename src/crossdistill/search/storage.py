"""An index on disk: opened and checked, and changed so that a killed change never happened (docs/search.md).

``index.json`` is written last and names all that counts. Vectors are put behind the last ones that count, or, where
rows are replaced, into a new file; so whoever has the index open keeps what it opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crossdistill.errors import RunFolderError, StorageError
from crossdistill.files import sha256_file, storage_errors, write_bytes
from crossdistill.search.description import NAME, Description, read_description
from crossdistill.search.exact import Vectors
from crossdistill.search.graph import Graph
from crossdistill.search.rows import ID, joined, no_rows

LOCK = ".lock"
OURS = re.compile(r"(vectors|items|graph)-\d{6}\.[a-z0-9]+|\..+\.part")  # files that we write
_CHUNK = 1 << 22  # bytes
_MEND = "restore a copy, or build the index anew"


@dataclass(frozen=True)
class State:
    """An index as it was at one moment.

    Attributes:
        description: of it.
        vectors: ``(N, d)``, mapped where they are on a disk.
        table: ids and metadata.
        graph: of an approximate index.
    """

    description: Description
    vectors: Vectors
    table: pa.Table
    graph: Graph | None


def create(folder: Path, description: Description) -> None:
    """Begins an index.

    Raises:
        StorageError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(map(_is_foreign, folder.iterdir()))):
        there = (folder / NAME).is_file()
        raise StorageError(
            "The output folder holds an index already." if there else "The output folder holds something else.",
            where=folder, expected="a new or empty folder",
            fix=f"add to it: crossdistill index add {folder} INPUT..., or choose another folder"
            if there else "choose another folder",
        )  # fmt: skip
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_description(folder, description)


def _is_foreign(path: Path) -> bool:
    """Whether something in a folder is more than what a killed beginning left."""
    return path.name != LOCK and not OURS.fullmatch(path.name)


def write_description(folder: Path, description: Description) -> None:
    """Makes a change count."""
    content = description.model_dump(mode="json")
    if content["metadata_sha256"] is None:
        del content["metadata_sha256"]  # as indices were before it was there
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / NAME, text.encode(), durable=True)


def read(folder: Path, *, check: bool) -> State:
    """The index in a folder.

    Raises:
        RunFolderError: there is none, or a file is missing, too short, or (with ``check``) of another checksum.
    """
    description = read_description(folder)
    while True:
        try:
            return _opened(folder, description, check)
        except (RunFolderError, OSError) as error:
            newer = read_description(folder)
            if newer.generation == description.generation:
                if isinstance(error, RunFolderError):
                    raise
                raise RunFolderError(
                    "A file of the index cannot be read.", where=error.filename or folder, received=error.strerror
                ) from error
            description = newer  # another process replaced files meanwhile


def _opened(folder: Path, description: Description, check: bool) -> State:
    files = description.vectors
    size = description.rows * description.width * 4
    path = folder / files.file
    if description.rows:
        _require(path, path.is_file() and path.stat().st_size >= size, f"at least {size:,} bytes")
        if check:
            with path.open("rb") as stream:
                for part in files.parts:
                    _require(path, digest_of(stream, part.rows * description.width * 4) == part.sha256, "its checksum")
    table = no_rows()
    found = []
    for each in description.tables:
        path = folder / each.file
        _require(path, path.is_file(), "a file")
        if check:
            _require(path, sha256_file(path) == each.sha256, "its checksum")
        found.append(_read_table(path, each.rows))
    for more in found:
        table = joined(table, more)
    if description.graph is not None:
        path = folder / description.graph.file
        mend = f"crossdistill index mend {folder}, which makes it anew from the vectors"
        _require(path, path.is_file(), "a file", mend)
        if check:
            _require(path, sha256_file(path) == description.graph.sha256, "its checksum", mend)
    graph = map_graph(folder, description)
    return State(description, map_vectors(folder, description), table.combine_chunks(), graph)


def without_graph(folder: Path, description: Description) -> State:
    """The same index, every file compared with its checksum, as if it had never had a graph."""
    return _opened(folder, description.with_(graph=None), check=True)


def map_vectors(folder: Path, description: Description) -> Vectors:
    """The vectors that count, ``(N, d)``."""
    if not description.rows:  # no file can be mapped that has nothing in it
        return np.empty((0, description.width), dtype=np.float32)
    path = folder / description.vectors.file
    return np.memmap(path, dtype="<f4", mode="r", shape=(description.rows, description.width))


def map_graph(folder: Path, description: Description) -> Graph | None:
    """The graph that counts."""
    about = description.graph
    if about is None:
        return None
    return Graph.open(folder / about.file, about.rows, description.width, np.array(about.outdated, dtype=np.int64))


def _read_table(path: Path, rows: int) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError("A file of the index is damaged.", where=path, received=error, fix=_MEND) from error
    _require(path, len(table) == rows and ID in table.column_names, f"{rows} rows with ids")
    return table


def _require(path: Path, holds: bool, expected: str, fix: str = _MEND) -> None:
    if not holds:
        there = path.is_file()
        raise RunFolderError(
            f"A file of the index is {'damaged' if there else 'missing'}.", where=path, expected=expected,
            received=f"{path.stat().st_size:,} bytes" if there else None, fix=fix,
        )  # fmt: skip


def digest_of(stream: BinaryIO, size: int) -> str:
    """SHA-256 of the next ``size`` bytes."""
    digest = hashlib.sha256()
    while size and (chunk := stream.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()
