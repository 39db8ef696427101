"""Whether an export's example gives the encoder's vectors: it is run on real items before it is left."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.console import warn
from crossdistill.deploy.parity import Sample
from crossdistill.item import Item, local_file

_SOME = 4  # items that are tried, beside one of each kind of file


def check_example(
    example: Path,
    items: Sequence[Item],
    samples: Sequence[Sample],
    array: Callable[[Item], NDArray[Any]] | None,
    tolerance: float,
) -> dict[str, Any]:
    """Runs an example on the first real item that it takes; takes it away again where it gives something else.

    Args:
        example: the program, in its folder.
        items: real ones.
        samples: PyTorch's vectors of these, in the same order.
        array: for an example that takes arrays, what it takes of an item; None for one that takes the items' files.
        tolerance: largest difference of a component of the vectors.

    Returns:
        For ``export.json``: ``item`` and ``difference`` of the one that was tried; or ``refused``, why it takes none of
        them; or ``left_out``, why it was taken away.
    """
    refused = "there is no item"
    for item, sample in _chosen(items, samples):
        name = str(item).rpartition("/")[2]
        with _as_file(item, array) as file:
            try:
                found = _run(example, file)
            except SystemExit as error:
                refused = str(error).replace(str(file), name)
                continue
            except Exception as error:  # a package that is missing, or whatever else somebody's files lead to
                return _left_out(example, f"{type(error).__name__}: {error}".replace(str(file), name))
        difference = float(np.abs(found[0] - sample.vector).max()) if found.shape[1:] == sample.vector.shape else 2.0
        if not difference <= tolerance:
            return _left_out(example, f"its vector of {name} differs from PyTorch's by {difference:.3g}")
        return {"item": name, "difference": difference}
    warn(f"example.py takes none of the items that it was tried on: {refused}")
    return {"refused": refused}


def _chosen(items: Sequence[Item], samples: Sequence[Sample]) -> list[tuple[Item, Sample]]:
    """The first ones, and the first of each kind of file."""
    kinds: dict[str, int] = {}
    for number, item in enumerate(items):
        kinds.setdefault(item.suffix.lower(), number)
    chosen = sorted({*range(min(_SOME, len(items))), *kinds.values()})
    return [(items[number], samples[number]) for number in chosen]


@contextlib.contextmanager
def _as_file(item: Item, array: Callable[[Item], NDArray[Any]] | None) -> Iterator[Path]:
    if array is None:
        with local_file(item) as file:
            yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "item.npy"
        np.save(file, array(item), allow_pickle=False)
        yield file


def _run(example: Path, file: Path) -> NDArray[np.float32]:
    """The vectors ``(2, d)`` that the program computes of a file and itself; what it prints is not shown."""
    before = sys.argv
    names: dict[str, Any] = {"__name__": "example", "__file__": str(example)}
    sys.argv = [str(example), str(file), str(file)]
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(example.read_text(encoding="utf-8"), str(example), "exec"), names)
    finally:
        sys.argv = before
    found: NDArray[np.float32] = names["vectors"]
    return found


def _left_out(example: Path, why: str) -> dict[str, Any]:
    example.unlink()
    warn(f"example.py is left out, as it does not do what the encoder does: {why}")
    return {"left_out": why}
