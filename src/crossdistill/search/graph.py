"""The graph of an approximate index (HNSW, arXiv 1603.09320, by usearch): who may be near, out of millions.

The graph holds its vectors in half precision and only names candidates; these are scored again by the vectors
themselves. Rows that were added or replaced since it was made are searched exactly, until they are too many.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from crossdistill.console import track, warn
from crossdistill.errors import MissingDependencyError, RunFolderError
from crossdistill.search.exact import Rows, Vectors, best, nearest, rescored

AUTO_ABOVE = 200_000  # rows of an index of kind auto that are still searched exactly
TAIL_ROWS, TAIL_SHARE = 10_000, 0.1  # rows, or share of all, that a graph may lack
CONNECTIVITY, EXPANSION_ADD = 16, 128
BREADTH = 1024  # of a search: a graph is made for many rows, among which a narrow one misses some of the nearest
_FACTOR = 2  # candidates for each that is wanted
_LARGE_SHARE = 0.05  # of all rows: whoever wants more of them is answered exactly
_CHUNK = 8192  # rows between two steps of the progress bar


def usearch() -> Any:
    """The package's module of indices.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import usearch.index
    except ImportError as error:
        raise MissingDependencyError(
            "An approximate index needs the package usearch.", where="kind hnsw",
            fix="pip install 'crossdistill[search]', or take kind exact",
        ) from error  # fmt: skip
    return usearch.index


class Graph:
    """A graph over the first ``rows`` rows of an index.

    Args:
        inner: usearch's.
        outdated: rows that have been replaced since.
    """

    def __init__(self, inner: Any, outdated: Rows) -> None:
        self.inner, self.outdated = inner, outdated
        self._lock = Lock()  # the width of a search is a setting of the whole graph

    @property
    def rows(self) -> int:
        """How many it holds."""
        return len(self.inner)

    @classmethod
    def open(cls, path: Path, rows: int, width: int, outdated: Rows) -> Graph:
        """The graph in a file, mapped and not read.

        Raises:
            RunFolderError: it is not the one that the index names.
        """
        found = _restored(path, view=True)
        if len(found) != rows or found.ndim != width:
            raise RunFolderError(
                "The graph of the index is another one.", where=path, expected=f"{rows} rows of {width}",
                received=f"{len(found)} rows of {found.ndim}", fix=_mend(path),
            )  # fmt: skip
        return cls(found, outdated)

    def nearest(self, queries: Vectors, vectors: Vectors, k: int, breadth: int = BREADTH) -> tuple[Rows, Vectors]:
        """Like :func:`crossdistill.search.exact.nearest`, where some of the k may be missed for others.

        ``breadth``: how many rows a search keeps in view (``ef`` in the paper); of more it misses fewer.
        """
        k = min(k, len(vectors))
        count = max(_FACTOR * k, k + 16)
        if count > _LARGE_SHARE * self.rows:
            return nearest(queries, vectors, k)
        with self._lock:
            self.inner.expansion_search = max(breadth, count)
            found = np.atleast_2d(self.inner.search(queries, count).keys).astype(np.int64)
        found[(found < 0) | (found >= self.rows)] = -1  # places that it did not fill
        more = []
        tail, _ = nearest(queries, vectors[self.rows :], k)
        more.append(tail + self.rows)
        if len(self.outdated):
            again, _ = nearest(queries, vectors[self.outdated], k)
            found[np.isin(found, self.outdated)] = -1
            more.append(self.outdated[again])
        candidates = np.concatenate([found, *more], axis=1)
        which, place = np.nonzero(candidates >= 0)
        rows = candidates[which, place]
        scores = rescored(queries, vectors, which, rows)
        kept = best(which, rows, scores, k)
        if len(kept) < k * len(queries):  # parts of the graph are out of reach
            return nearest(queries, vectors, k)
        return rows[kept].reshape(-1, k), scores[kept].reshape(-1, k)


def grown(vectors: Vectors, old: Path | None) -> Any:
    """A graph over all vectors, ``(N, d)``; the one in ``old`` has the first of them, unchanged.

    It is made in one thread: the same vectors in the same order then give the same graph.
    """
    module = usearch()
    if old is not None:
        inner = _restored(old, view=False)
    else:
        inner = module.Index(
            ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=CONNECTIVITY, enable_key_lookups=False,
        )  # fmt: skip
    inner.expansion_add = EXPANSION_ADD
    start = len(inner)
    with track("linking the graph", len(vectors) - start) as task:
        for first in range(start, len(vectors), _CHUNK):
            part = np.ascontiguousarray(vectors[first : first + _CHUNK])
            inner.add(np.arange(first, first + len(part), dtype=np.uint64), part, threads=1)
            task.advance(len(part))
    return inner


def wanted(kind: Literal["auto", "exact", "hnsw"], rows: int) -> bool:
    """Whether an index of this kind and size is to have a graph.

    Raises:
        MissingDependencyError: it is of kind hnsw, and usearch is not installed.
    """
    if kind == "exact" or (kind == "auto" and rows <= AUTO_ABOVE):
        return False
    try:
        usearch()
    except MissingDependencyError as error:
        if kind == "hnsw":
            raise
        warn(f"{error.problem} This one of {rows:,} rows is searched exactly; {error.details['fix']}")
        return False
    return True


def too_much_is_lacking(rows: int, graph_rows: int, outdated: int) -> bool:
    """Whether a graph has to be made or made longer."""
    return rows - graph_rows + outdated > max(TAIL_ROWS, TAIL_SHARE * rows)


def _restored(path: Path, *, view: bool) -> Any:
    try:
        found = usearch().Index.restore(path, view=view, enable_key_lookups=False)
        problem = None if found is not None else "no graph of usearch"
    except (RuntimeError, ValueError, OSError) as error:
        problem = str(error)
    if problem is not None:
        raise RunFolderError("The graph of the index cannot be read.", where=path, received=problem, fix=_mend(path))
    return found


def _mend(path: Path) -> str:
    return f"crossdistill index mend {path.parent}, which makes it anew from the vectors"
