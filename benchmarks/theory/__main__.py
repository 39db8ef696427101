"""The theory and the advisor on data: does measured distance foretell error, does the bound hold, is the advice right?

python -m benchmarks.theory [--data FOLDER] [--parts grid advice study traps slack estimators] [--json] [--quick]

FOLDER (default: data) holds the sets as `crossdistill data build` writes them; docs/theory-study.md has the commands.
The distillations are kept in runs/benchmarks/theory, and none is done twice: an interrupted run goes on where it
stopped, and `python -m benchmarks.theory.grid --data FOLDER --part 0/2` and `1/2` share them between two processes.
--quick makes three small sets of its own, and takes a minute.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import Measurement, save, show_all
from benchmarks.theory import advice, grid

PARTS = ("grid", "advice", "study", "traps", "slack", "estimators")
_WORK: dict[str, Callable[[Path], None]] = {"grid": grid.work_through, "advice": advice.work_through}


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="three small sets, within a minute")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        quick = importlib.import_module("benchmarks.theory.quick")
        show_all(quick.run(), arguments.json)
        return
    every: list[Measurement] = []
    for part in arguments.parts:
        if part in _WORK:
            _WORK[part](arguments.data)
            continue
        measurements, content = _measure(part, arguments.data)
        show_all(measurements, arguments.json)
        every += measurements
        lines = [vars(each) for each in measurements]
        save(f"theory-{part}", {"measurements": lines, **content})


def _measure(part: str, data: Path) -> tuple[list[Measurement], dict[str, Any]]:
    module = importlib.import_module(f"benchmarks.theory.{part}")
    found: tuple[list[Measurement], dict[str, Any]] = (
        module.run(data) if part in ("study", "traps") else module.run(quick=False)
    )
    return found


if __name__ == "__main__":
    main()
