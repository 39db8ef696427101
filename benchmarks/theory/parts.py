"""A long computation of many kept pieces, shared between processes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Piece = TypeVar("Piece")


def work_through(
    pieces: Iterable[Piece],
    kept: Callable[[Piece], Path],
    work: Callable[[Piece], None],
    number: int = 0,
    parts: int = 1,
) -> None:
    """Does what is missing of the ``number``-th of so many parts.

    Args:
        pieces: all of them, in a fixed order.
        kept: where a piece's result is.
        work: makes it.
        number: of this part, from 0.
        parts: how many there are.
    """
    wanted = list(pieces)
    for place, piece in enumerate(wanted):
        if place % parts == number and not kept(piece).is_file():
            started = time.monotonic()
            work(piece)
            print(f"{place + 1} of {len(wanted)}: {kept(piece).stem}, {time.monotonic() - started:.0f} s", flush=True)


def run_part(description: str | None, run: Callable[[Path, int, int], None]) -> None:
    """The command of such a computation: ``--data FOLDER [--part I/N]``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="0/1", help="the I-th of N parts, counted from 0")
    arguments = parser.parse_args()
    number, parts = (int(each) for each in arguments.part.split("/"))
    run(arguments.data, number, parts)
