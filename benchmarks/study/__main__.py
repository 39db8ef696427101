"""The study: every objective and control on every task, tuned alike, five seeds; then what the default is ahead by.

python -m benchmarks.study --data FOLDER [--out runs/study] [--tasks emoji,...] [--jobs N] [--quick] [--json]

FOLDER holds the sets as `crossdistill data build` writes them. It goes on where it stopped; what is done is kept in
OUT, and each task's results as benchmarks/results/DATE-study-TASK.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.record import Measurement, save, show_all
from benchmarks.study.overall import measurements
from benchmarks.study.tasks import NAMES, QUICK_TASKS, settings, task
from crossdistill.compare import Findings, compare
from crossdistill.compare.page import write_pages
from crossdistill.console import say
from crossdistill.errors import CrossDistillError


def study(data: Path, out: Path, names: tuple[str, ...], jobs: int | None, *, quick: bool) -> list[Measurement]:
    """Runs what is left of it, and measures."""
    found: dict[str, Findings] = {}
    for name in names:
        say(f"task {name}")
        overrides = ["train.epochs=6"] if quick else []
        config = task(name, data, out / ("quick" if quick else "full"), overrides)
        found[name] = compare(config, settings(name, quick=quick), jobs=jobs)
        write_pages(found[name], config.out)
        if not quick:
            save(f"study-{name}", found[name].to_json())
    return measurements(found)


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--tasks", default="", help="names, with commas; all by default")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--quick", action="store_true", help="one task, four methods, two seeds, short trainings")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = tuple(name for name in arguments.tasks.split(",") if name) or (QUICK_TASKS if arguments.quick else NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"unknown task {unknown[0]}, expected some of {', '.join(NAMES)}")
    try:
        rows = study(arguments.data, arguments.out, names, arguments.jobs, quick=arguments.quick)
    except CrossDistillError as error:
        raise SystemExit(f"error: {error}") from None
    show_all(rows, arguments.json)


if __name__ == "__main__":
    main()
