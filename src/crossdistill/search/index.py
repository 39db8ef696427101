"""An index: embeddings of items of one modality, which answers queries of either with the nearest of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crossdistill.bank.locks import locked
from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.files import storage_errors
from crossdistill.pairs import Side
from crossdistill.pipeline import CrossModalModel
from crossdistill.search import graph as graphs
from crossdistill.search import storage
from crossdistill.search.changes import Change, finish, in_memory, regrown, write_change
from crossdistill.search.description import Description, Kind, describe, marks, read_description
from crossdistill.search.exact import Vectors, nearest, unit_vectors
from crossdistill.search.graph import Graph
from crossdistill.search.rows import CONTENT, ID, known, make_table, metadata_of, no_rows
from crossdistill.search.storage import State


@dataclass(frozen=True)
class Hit:
    """An item that was found.

    Attributes:
        id: of the item.
        row: of it in the index.
        score: cosine similarity to the query.
        metadata: the item's, by column.
    """

    id: str
    row: int
    score: float
    metadata: dict[str, Any]


class Index:
    """See :meth:`create` and :meth:`open`.

    Attributes:
        folder: where it is; None in memory.
    """

    def __init__(self, folder: Path | None, state: State) -> None:
        self.folder = folder
        self._state = state
        self._lock = RLock()

    @classmethod
    def create(
        cls, folder: Path | None, model: CrossModalModel, modality: Side, kind: Kind = "auto", *,
        half_built: bool = False, metadata_sha256: str | None = None,
    ) -> Index:  # fmt: skip
        """An index without items.

        Args:
            folder: a new or empty one; None: in memory.
            model: whose embeddings it will have.
            modality: of the items, source or target.
            kind: ``exact``, ``hnsw`` (approximate), or ``auto``: exact up to 200,000 items.
            half_built: on a disk it answers no query before :meth:`finish`.
            metadata_sha256: of the file of metadata that a build goes by, kept until :meth:`finish`.

        Raises:
            ConfigError: there is no such modality or kind.
            RunFolderError: the run keeps no encoder of that modality.
            MissingDependencyError: ``hnsw`` without usearch.
            StorageError: the folder holds something, or cannot be written.
        """
        if kind not in ("auto", "exact", "hnsw"):
            raise ConfigError("Unknown kind of index.", expected="auto, exact or hnsw", received=repr(kind))
        if kind == "hnsw":
            graphs.usearch()
        description = describe(model, modality, kind)
        if half_built and folder is not None:
            description = description.with_(half_built=True, metadata_sha256=metadata_sha256)
        if folder is not None:
            storage.create(folder, description)
        return cls(folder, State(description, np.empty((0, description.width), np.float32), no_rows(), None))

    @classmethod
    def open(cls, folder: Path, *, check: bool = True) -> Index:
        """The index in a folder.

        Args:
            folder: of it.
            check: compare every file with its checksum, which reads all of them.

        Raises:
            RunFolderError: there is none, or it is damaged or of a later format.
            MissingDependencyError: it is approximate, and usearch is not installed.
        """
        return cls(folder, storage.read(folder, check=check))

    @classmethod
    def mend(cls, folder: Path) -> Index:
        """The index in a folder with its graph made anew from its vectors, which have to be whole.

        Raises:
            RunFolderError: there is no index, or more than its graph is damaged, or it is half built.
            MissingDependencyError: it is approximate, and usearch is not installed.
            StorageError: the disk is full or cannot be written.
        """
        read_description(folder)  # before a lock is written into what is no index
        with storage_errors(folder), locked(folder / storage.LOCK):
            state = storage.without_graph(folder, read_description(folder))
            if state.description.half_built:
                raise RunFolderError(
                    "The index is half built.", where=folder, fix="run the same crossdistill index build again"
                )
            return cls(folder, regrown(folder, state))

    @property
    def description(self) -> Description:
        """What its ``index.json`` says."""
        return self._state.description

    @property
    def modality(self) -> Side:
        """Of its items."""
        return self.description.modality

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.description.width

    @property
    def vectors(self) -> Vectors:
        """All of them, ``(N, d)``, unit length, by row: the mapped file itself, not to be written to."""
        return self._state.vectors

    @property
    def ids(self) -> list[str]:
        """Of all rows, in order."""
        found: list[str] = self._state.table[ID].to_pylist()
        return found

    @property
    def columns(self) -> list[str]:
        """Of the metadata."""
        return [name for name in self._state.table.column_names if name not in (ID, CONTENT)]

    @property
    def graph(self) -> Graph | None:
        """What an approximate search goes by; None where all is searched exactly."""
        return self._state.graph

    def __len__(self) -> int:
        return len(self._state.vectors)

    def metadata(self, row: int) -> dict[str, Any]:
        """Those of one item, by column."""
        return metadata_of(self._state.table, [row])[0][1]

    def check(self, model: CrossModalModel, sides: Sequence[Side] = ("source", "target")) -> None:
        """Makes sure that its embeddings are of the model's encoders.

        Args:
            model: whose items or queries are to be embedded for it.
            sides: of the encoders that matter: an index of source items is of use to all students of one teacher, if
                each of them embeds queries by itself.

        Raises:
            RunFolderError: they are of others, so no answer would mean anything.
        """
        present, wanted = self.description.encoders, marks(model)
        for side in (side for side in present if side in sides):
            if side not in wanted and side != self.modality:
                continue  # the run has not kept its teacher, and nothing of it is in here
            mark = wanted.get(side)
            if mark is None or mark != present[side]:
                changed = "none" if mark is None else f"{mark.weights_hash[:12]} ({mark.origin})"
                same = mark is not None and mark.weights_hash == present[side].weights_hash
                raise RunFolderError(
                    f"The index was made by another {side} encoder than the run has.",
                    where=self.folder or model.folder.root,
                    expected=f"weights {present[side].weights_hash[:12]} ({present[side].origin})",
                    received="the same weights after other preprocessing" if same else f"weights {changed}",
                    fix="build the index anew with this run, or name the run that made it (--run)",
                )  # fmt: skip

    def holds(self, ids: Sequence[str], contents: Sequence[str]) -> NDArray[np.bool_]:
        """Whether it has these ids with these contents, ``(n,)``; what :meth:`add` would leave as it is."""
        _, same = known(self._state.table, ids, contents)
        return same

    def add(
        self, vectors: Vectors, ids: Sequence[str], metadata: pa.Table | None = None,
        contents: Sequence[str] | None = None,
    ) -> int:  # fmt: skip
        """Adds items; on a disk all of them or, where it fails or is killed, none.

        An id that is there with the same content is left as it is, its metadata included; one with another content is
        replaced, and keeps its row.

        Args:
            vectors: ``(n, d)``, unit length.
            ids: of the items, each once.
            metadata: as many rows.
            contents: hashes of the items' bytes; by default those of the vectors' bytes.

        Returns:
            How many items are new or replaced.

        Raises:
            ConfigError: vectors of another width, not finite or not of unit length, or ids or metadata that do not fit.
            RunFolderError, StorageError: of an index on a disk.
        """
        vectors = unit_vectors(vectors, self.width, "vectors")
        if len(ids) != len(vectors):
            raise ConfigError("There are not as many ids as vectors.", expected=len(vectors), received=len(ids))
        if contents is None:
            contents = [f"vector:{hashlib.blake2b(each.tobytes(), digest_size=12).hexdigest()}" for each in vectors]
        table = make_table(ids, contents, metadata)
        with self._changing() as state:
            rows, same = known(state.table, ids, contents)
            new, other = rows < 0, (rows >= 0) & ~same
            change = Change(
                vectors[new], table.filter(pa.array(new)), rows[other], vectors[other], table.filter(pa.array(other))
            )
            if change.size:
                self._state = (
                    in_memory(state, change) if self.folder is None else write_change(self.folder, state, change)
                )
        return change.size

    def finish(self) -> None:
        """Ends a build on a disk that began ``half_built``."""
        with self._changing() as state:
            if self.folder is not None:
                self._state = finish(self.folder, state)

    def query(self, vectors: Vectors, k: int, *, breadth: int = graphs.BREADTH) -> list[list[Hit]]:
        """The nearest items of each query.

        Args:
            vectors: ``(Q, d)``, unit length, of either modality.
            k: how many; where the index has fewer items, all of them.
            breadth: of an approximate search how many rows it keeps in view; of more it misses fewer and takes longer.

        Returns:
            For each query its hits, the most similar first; equal similarities by row.

        Raises:
            ConfigError: vectors of another width, not finite or not of unit length, or ``k`` or ``breadth`` below 1.
            RunFolderError: the index is half built.
        """
        state = self._state
        for name, value in (("k", k), ("breadth", breadth)):
            if value < 1:
                raise ConfigError(
                    "A search has to look for something.", where=name, expected="at least 1", received=value
                )
        if state.description.half_built:
            raise RunFolderError(
                "The index is half built.", where=self.folder, fix="run the same crossdistill index build again"
            )
        vectors = unit_vectors(vectors, self.width, "queries")
        if state.graph is None:
            rows, scores = nearest(vectors, state.vectors, k)
        else:
            rows, scores = state.graph.nearest(vectors, state.vectors, k, breadth)
        unique, place = np.unique(rows, return_inverse=True)
        about = metadata_of(state.table, unique.tolist())
        hits = [
            Hit(about[number][0], row, score, about[number][1])
            for number, row, score in zip(place.ravel().tolist(), rows.ravel().tolist(), scores.ravel().tolist(),
                                          strict=True)
        ]  # fmt: skip
        found = rows.shape[1]
        return [hits[query * found : (query + 1) * found] for query in range(len(rows))]

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """The state of this moment, which no other process or thread changes meanwhile."""
        with self._lock:
            if self.folder is None:
                yield self._state
                return
            with storage_errors(self.folder), locked(self.folder / storage.LOCK):
                there, here = read_description(self.folder), self.description
                if (there.encoders, there.modality) != (here.encoders, here.modality):
                    raise RunFolderError(
                        "Another index stands where this one was.", where=self.folder, fix="open it again"
                    )
                if there != here:
                    self._state = storage.read(self.folder, check=False)
                yield self._state
