"""The study: every objective and control on every task, tuned alike, five seeds; then what the default is ahead by.

python -m benchmarks.study --data FOLDER [--out runs/study] [--tasks emoji,...] [--jobs N] [--quick] [--json]

FOLDER holds the sets as `crossdistill data build` writes them. It goes on where it stopped; what is done is kept in
OUT, and each task's results as benchmarks/results/DATE-study-TASK.json. What there is of a task that is stopped is in
benchmarks/results/unfinished, too, from where another machine goes on.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from benchmarks.record import Measurement, save, show_all
from benchmarks.study.arguments import read_arguments
from benchmarks.study.overall import measurements
from benchmarks.study.tasks import NAMES, QUICK_TASKS, settings, task
from benchmarks.study.unfinished import file_of, keep, restore
from crossdistill.compare import Findings, compare
from crossdistill.compare.page import write_pages
from crossdistill.console import say
from crossdistill.errors import CrossDistillError
from crossdistill.pipeline.config import RunConfig


def study(data: Path, out: Path, names: tuple[str, ...], jobs: int | None, *, quick: bool) -> list[Measurement]:
    """Runs what is left of it, and measures."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        say(f"task {name}")
        overrides = ["train.epochs=6"] if quick else []
        config = task(name, data, out / ("quick" if quick else "full"), overrides)
        findings = _compared(name, config, jobs, quick=quick)
        write_pages(findings, config.out)
        found[name] = kept(findings)
        if not quick:
            save(f"study-{name}", found[name])
    return measurements(found)


def _compared(name: str, config: RunConfig, jobs: int | None, *, quick: bool) -> Findings:
    """A task's comparison; where it is stopped, what there is of it is kept for other machines (not of a quick one)."""
    if quick:
        return compare(config, settings(name, quick=True), jobs=jobs)
    cells = config.out / "cells"
    if count := restore(name, cells):
        say(f"{count} cells are those of {file_of(name)}")
    try:
        findings = compare(config, settings(name, quick=False), jobs=jobs)
    except BaseException:
        keep(name, cells)
        raise
    file_of(name).unlink(missing_ok=True)
    return findings


def kept(findings: Findings) -> dict[str, Any]:
    """What is kept of a task: all but the differences of every two methods, nine tenths of it; OUT has them, too."""
    content = findings.to_json()
    metrics = [{key: each for key, each in metric.items() if key != "pairwise"} for metric in content["metrics"]]
    return {**content, "metrics": metrics}


def main() -> None:
    """Reads the arguments."""
    arguments = read_arguments(
        __doc__, of="tasks", known=NAMES, quick_names=QUICK_TASKS,
        quick="two objectives, a control, the default, two seeds, short; one task by default",
    )  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped, and not killed: what there is is kept
    try:
        rows = study(arguments.data, arguments.out, arguments.names, arguments.jobs, quick=arguments.quick)
    except KeyboardInterrupt:
        raise SystemExit("stopped: the same command goes on from here") from None
    except CrossDistillError as error:
        raise SystemExit(f"error: {error}") from None
    show_all(rows, arguments.json)


if __name__ == "__main__":
    main()
