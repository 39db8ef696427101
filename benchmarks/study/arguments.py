"""The command line that the study's programs have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def read_arguments(
    description: str | None, *, of: str, known: Sequence[str], quick: str, quick_names: Sequence[str] = ()
) -> argparse.Namespace:
    """Reads the arguments; ``names`` are those that were asked for, by default all of ``known``.

    Args:
        description: the program's documentation.
        of: what is named, and so the option.
        known: their names.
        quick: what ``--quick`` does.
        quick_names: those of the default with ``--quick``, where these are not all.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets, as docs/study.md builds them")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument(f"--{of}", default="", dest="names", help="names, with commas; all by default")
    parser.add_argument("--jobs", type=int, help="worked on at once")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="one object a line")
    arguments = parser.parse_args()
    usual = (arguments.quick and quick_names) or known
    arguments.names = tuple(name for name in arguments.names.split(",") if name) or tuple(usual)
    for name in arguments.names:
        if name not in known:
            parser.error(f"--{of}: unknown {name!r}, expected some of {', '.join(known)}")
    return arguments
