"""Clocks that jump, readers that hang, requests to stop, and memory that runs out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .case import Case
from .moments import PICTURES, STEP
from .scene import Outcome, Scene

_HANGS = {
    "while items are decoded": ("crossdistill.pairs.items:Items.of", "source"),
    "while target items are decoded": ("crossdistill.pipeline.stages:fresh_student", "target"),
    "while items are hashed for the bank": ("crossdistill.bank.bank:content_hashes", "source"),
    "while pictures are made": (PICTURES, "source"),
}


def other_faults(scene: Scene) -> Iterator[Outcome]:
    """All cases."""
    yield _clock(scene)
    for moment, (function, side) in _HANGS.items():
        yield _hang(scene, moment, function, side)
    for name, do in (("SIGTERM", "term"), ("SIGINT", "int")):
        for stage, nth in (("stage 1", 5), ("stage 2", 27), ("a baseline", 40)):
            yield _stop(scene, name, do, stage, nth)
    yield _stop_outside_training(scene)
    yield _memory(scene)


def _clock(scene: Scene) -> Outcome:
    case = Case(scene, "jumping clock", "time.time is random between 12 days before 1970 and 2096", "equal bits")
    out = scene.fresh()
    hooks = [{"at": "clock", "seed": 5}, {"at": "call", "of": STEP, "nth": 25}]
    first = scene.launcher.run(scene.arguments(out), hooks)
    case.need(first.killed, f"it was not killed, but ended with code {first.code}")
    case.ended(scene.launcher.run(scene.arguments(out), [{"at": "clock", "seed": 6}]), 0)
    case.equals(out)
    return case.outcome()


def _hang(scene: Scene, moment: str, function: str, side: str) -> Outcome:
    case = Case(scene, "hanging reader", moment, "exit 3 within the time-out, item named; equal bits once it is back")
    out = scene.fresh()
    rows = (scene.reference / "pairs.csv").read_text().splitlines()[1:]
    row = next(number for number, line in enumerate(rows) if ",train" in line) if "picture" not in moment else None
    path = _item(scene, side, rows, row)
    kept = path.with_suffix(".kept")
    shutil.copy2(path, kept)
    hook = {"at": "call", "of": function, "do": "fifo", "path": str(path)}
    try:
        said = scene.launcher.run(scene.arguments(out), [hook], limit=25)
        case.ended(said, 3, "takes too long", "train.read_timeout", re.escape(path.name), rf"row \d+, column {side}")
    finally:
        path.unlink()
        kept.rename(path)
    case.whole(out)
    case.ended(scene.launcher.run(scene.arguments(out)), 0)
    if not case.problems:
        case.equals(out)
    return case.outcome()


def _item(scene: Scene, side: str, rows: list[str], row: int | None) -> Path:
    """An item of a training pair; or one that the report shows."""
    folder = scene.folder / "pairs"
    if row is None:
        shown = [path.stem for path in (scene.reference / "pictures").glob(f"{side}-*.png")]
        row = max(int(name.rpartition("-")[2]) for name in shown if ",train" in rows[int(name.rpartition("-")[2])])
    return next(folder / side / Path(cell).name for cell in rows[row].split(",") if f"{side}/" in cell)


def _stop(scene: Scene, name: str, do: str, stage: str, nth: int) -> Outcome:
    case = Case(scene, name, f"in a step of {stage}", "exit 130 after a checkpoint, resumed to equal bits")
    out = scene.fresh()
    hook = {"at": "call", "of": STEP, "nth": nth, "do": do}
    case.ended(scene.launcher.run(scene.arguments(out), [hook]), 130, f"Stopped by {name}", "run the same command")
    case.whole(out)
    case.finishes(out)
    return case.outcome()


def _stop_outside_training(scene: Scene) -> Outcome:
    case = Case(scene, "SIGINT", "in the bank", "exit 130, resumed to equal bits")
    out = scene.fresh()
    hook = {"at": "call", "of": "crossdistill.bank.building:_Build.attempt", "nth": 2, "do": "int"}
    case.ended(scene.launcher.run(scene.arguments(out), [hook]), 130, "interrupted")
    case.whole(out)
    case.finishes(out)
    return case.outcome()


def _memory(scene: Scene) -> Outcome:
    case = Case(
        scene, "memory runs out", "RLIMIT_AS in the first step of stage 1", "exit 5 with settings that help; equal bits"
    )
    out = scene.fresh()
    hook = {"at": "call", "of": "crossdistill.training.loop:ParallelStep.__call__", "nth": 1, "do": "memory",
            "bytes": 1 << 20}  # fmt: skip
    said = scene.launcher.run(scene.arguments(out), [hook])
    case.ended(said, 5, "memory does not suffice", r"train\.batch_size")
    case.whole(out)
    case.finishes(out)
    return case.outcome()
