"""How an index on disk grows: new rows behind the others, replaced rows in new files, and ``index.json`` last."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crossdistill.files import atomic_path, require_space, sha256_file, storage_errors, write_bytes
from crossdistill.search import graph as graphs
from crossdistill.search.description import Description, GraphFile, Part, Table, VectorFile
from crossdistill.search.exact import Rows, Vectors
from crossdistill.search.graph import Graph
from crossdistill.search.rows import joined, replaced
from crossdistill.search.storage import OURS, State, digest_of, map_graph, map_vectors, write_description

TABLES = 32  # files of ids and metadata; when there would be more, they become one
_ROWS = 8192  # copied at a time


@dataclass(frozen=True)
class Change:
    """What is to be added to an index, and what replaced.

    Attributes:
        vectors: of new rows, ``(n, d)``.
        table: their ids and metadata.
        rows: the numbers of rows that are replaced, ``(m,)``.
        other_vectors: what they become, ``(m, d)``.
        other_table: likewise.
    """

    vectors: Vectors
    table: pa.Table
    rows: Rows
    other_vectors: Vectors
    other_table: pa.Table

    @property
    def size(self) -> int:
        """How many rows it is about."""
        return len(self.table) + len(self.rows)

    def of_table(self, table: pa.Table) -> pa.Table:
        """The table after it."""
        return joined(replaced(table, self.rows, self.other_table) if len(self.rows) else table, self.table)


def write_change(folder: Path, state: State, change: Change) -> State:
    """Makes a change on the disk; the caller holds the lock, and ``state`` is what is there.

    Raises:
        StorageError: the disk is full or cannot be written; the index is then as it was.
        ConfigError: metadata of other types than the index has.
    """
    old = state.description
    sweep(folder, old)
    generation = old.generation + 1
    table = change.of_table(state.table)  # first, as it may refuse the metadata
    merge = len(old.tables) >= TABLES or len(change.rows) > 0
    row_bytes = old.width * 4
    require_space(folder, row_bytes * (len(table) if len(change.rows) else len(change.table)), "the index")
    if len(change.rows):
        vectors = _rewritten(folder, f"vectors-{generation:06d}.f32", state.vectors, change)
    else:
        vectors = _appended(folder / old.vectors.file, old, change.vectors)
        if merge:
            with (folder / vectors.file).open("rb") as stream:
                whole = Part(rows=len(table), sha256=digest_of(stream, len(table) * row_bytes))
            vectors = VectorFile(file=vectors.file, parts=[whole])
    name = f"items-{generation:06d}.parquet"
    tables = [] if merge else [*old.tables]
    if merge or len(change.table):
        tables.append(_table_file(folder / name, table if merge else change.table))
    graph = old.graph
    if graph is not None and len(change.rows):
        present = np.array(graph.outdated, dtype=np.int64)
        outdated = np.union1d(present, change.rows[change.rows < graph.rows])
        graph = GraphFile(**{**dict(graph), "outdated": outdated.tolist()})
    new = old.with_(rows=len(table), generation=generation, vectors=vectors, tables=tables, graph=graph)
    return _count(folder, new if old.half_built else with_graph(folder, new), table)


def finish(folder: Path, state: State) -> State:
    """Ends a build: from now on the index answers. The caller holds the lock."""
    old = state.description
    if not old.half_built:
        return state  # another process has done it
    done = old.with_(half_built=False, metadata_sha256=None, generation=old.generation + 1)
    return _count(folder, with_graph(folder, done), state.table)


def regrown(folder: Path, state: State) -> State:
    """Makes a graph anew from the vectors, where the index is to have one. The caller holds the lock."""
    old = state.description
    return _count(folder, with_graph(folder, old.with_(graph=None, generation=old.generation + 1)), state.table)


def in_memory(state: State, change: Change) -> State:
    """The same change of an index that is not on a disk."""
    vectors = np.concatenate([state.vectors, change.vectors])
    vectors[change.rows] = change.other_vectors
    graph = state.graph
    if graph is not None:
        graph = Graph(graph.inner, np.union1d(graph.outdated, change.rows[change.rows < graph.rows]))
    present, outdated = (0, 0) if graph is None else (graph.rows, len(graph.outdated))
    if graphs.wanted(state.description.kind, len(vectors)) and graphs.too_much_is_lacking(
        len(vectors), present, outdated
    ):
        graph = Graph(graphs.grown(vectors, None), np.empty(0, np.int64))
    return State(state.description, vectors, change.of_table(state.table), graph)


def _count(folder: Path, new: Description, table: pa.Table) -> State:
    """Makes what has been written count."""
    write_description(folder, new)
    sweep(folder, new)
    return State(new, map_vectors(folder, new), table.combine_chunks(), map_graph(folder, new))


def with_graph(folder: Path, description: Description) -> Description:
    """The same with a graph that is up to date, where the index is to have one; it is written beforehand."""
    old = description.graph
    present, outdated = (0, []) if old is None else (old.rows, old.outdated)
    if not graphs.wanted(description.kind, description.rows):
        return description
    if not graphs.too_much_is_lacking(description.rows, present, len(outdated)):
        return description
    vectors = map_vectors(folder, description)
    name = f"graph-{description.generation:06d}.usearch"
    inner = graphs.grown(vectors, folder / old.file if old is not None and not outdated else None)
    require_space(folder, inner.serialized_length, "the graph of the index")
    with atomic_path(folder / name) as temporary:
        inner.save(temporary)
        with temporary.open("r+b") as stream:
            _settle(stream)
    digest = sha256_file(folder / name)
    return description.with_(graph=GraphFile(file=name, rows=len(vectors), sha256=digest, outdated=[]))


def sweep(folder: Path, description: Description) -> None:
    """Removes files of ours that do not count: of earlier generations, and of killed processes."""
    counted = {description.vectors.file, *(table.file for table in description.tables)}
    if description.graph is not None:
        counted.add(description.graph.file)
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in counted:
            with suppress(OSError):  # a file that is open cannot be removed everywhere; the next change tries again
                path.unlink()


def _appended(path: Path, old: Description, vectors: Vectors) -> VectorFile:
    """Vectors behind those that count; what a killed process left there is overwritten."""
    content = np.ascontiguousarray(vectors, dtype="<f4")
    if len(content):
        with storage_errors(path), path.open("r+b" if old.rows else "wb") as stream:
            stream.truncate(old.rows * old.width * 4)
            stream.seek(0, os.SEEK_END)
            stream.write(content.data)
            _settle(stream)
    parts = [Part(rows=len(content), sha256=hashlib.sha256(content.data).hexdigest())] if len(content) else []
    return VectorFile(file=path.name, parts=[*old.vectors.parts, *parts])


def _rewritten(folder: Path, name: str, vectors: Vectors, change: Change) -> VectorFile:
    """All vectors, some of them replaced, in a new file."""
    digest = hashlib.sha256()
    order = np.argsort(change.rows)
    sorted_rows = change.rows[order]
    with atomic_path(folder / name) as temporary, temporary.open("wb") as stream:

        def write(values: Vectors) -> None:
            content = np.ascontiguousarray(values, dtype="<f4").data
            digest.update(content)
            stream.write(content)

        for start in range(0, len(vectors), _ROWS):
            piece = np.array(vectors[start : start + _ROWS])
            first, last = np.searchsorted(sorted_rows, [start, start + len(piece)])
            piece[sorted_rows[first:last] - start] = change.other_vectors[order[first:last]]
            write(piece)
        if len(change.vectors):
            write(change.vectors)
        _settle(stream)
    part = Part(rows=len(vectors) + len(change.vectors), sha256=digest.hexdigest())
    return VectorFile(file=name, parts=[part])


def _table_file(path: Path, table: pa.Table) -> Table:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    write_bytes(path, stream.getbuffer(), durable=True)
    digest = hashlib.sha256(stream.getbuffer()).hexdigest()
    return Table(file=path.name, rows=len(table), sha256=digest)


def _settle(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
