"""Usage: ``python -m tests.faults [--kills N] [--only PART ...] [--seed N] [--out FOLDER] [--record]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .everything import PARTS, run
from .table import content, markdown, write

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
MARK = "## What happened"  # from here on the page is written by --record


def main() -> int:
    """Runs the harness; 1 where something was not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=57, help="SIGKILLs of single processes (default: all moments)")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="some parts alone")
    parser.add_argument("--seed", type=int, default=0, help="of moments and times")
    parser.add_argument("--out", type=Path, help="a folder for faults.json and faults.md")
    parser.add_argument(
        "--record",
        action="store_true",
        help="write benchmarks/results/DATE-faults.json, and its tables into docs/faults.md",
    )
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the tables of a recorded file, and no more")
    options = parser.parse_args()
    if options.show is not None:
        print(markdown(json.loads(options.show.read_text(encoding="utf-8"))))
        return 0
    outcomes, seconds = run(options.kills, options.seed, options.only)
    found = content(outcomes, options.seed, seconds)
    print(markdown(found))
    if options.out is not None:
        write(options.out, found)
    if options.record:
        from benchmarks.record import save

        path = save("faults", found)
        text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
        page = f"{text}{MARK}\n\nFrom `benchmarks/results/{path.name}`, seed {found['seed']}:\n\n{markdown(found)}"
        PAGE.write_text(page, encoding="utf-8")
        print(path.name)
    return 0 if all(outcome.holds for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
