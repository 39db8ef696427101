"""Two processes under ``torchrun``, one of which is killed, fails, or comes back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from .case import Case
from .launch import run_ranks
from .moments import SHARD, STEP
from .scene import Outcome, Scene

_OURS = r"process 1 of 2 has ended without a word|Signal 9 \(SIGKILL\)"


def many_ranks(scene: Scene) -> Iterator[Outcome]:
    """All cases; the uninterrupted run of two ranks first."""
    reference = scene.folder / "reference-of-2" / "run"
    reference.parent.mkdir()
    case = Case(scene, "two ranks", "nothing happens", "exit 0")
    case.ended(run_ranks(scene.arguments(reference)), 0)
    yield case.outcome()
    kills = {
        "in a step of stage 1": {"at": "call", "of": STEP, "nth": 5},
        "in a shard of the bank": {"at": "call", "of": SHARD},
        "in a step of stage 2": {"at": "call", "of": STEP, "nth": 28},
    }
    for rank in (0, 1):
        for moment, hook in kills.items():
            if rank == 1 or "stage 2" in moment:
                yield _killed(scene, reference, rank, moment, {**hook, "rank": rank})
    yield _elastic(scene, reference, {**kills["in a step of stage 2"], "rank": 1})
    yield _user_error(scene, reference)


def _killed(scene: Scene, reference: Path, rank: int, moment: str, hook: dict[str, object]) -> Outcome:
    case = Case(scene, "killed rank", f"rank {rank} of 2, {moment}", "all end, it is named; resumed to equal bits")
    out = scene.fresh()
    case.ended(run_ranks(scene.arguments(out), [hook]), 1, _OURS.replace("process 1", f"process {rank}"))
    case.whole(out)
    case.ended(run_ranks(scene.arguments(out)), 0)
    case.equals(out, reference)
    return case.outcome()


def _elastic(scene: Scene, reference: Path, hook: dict[str, object]) -> Outcome:
    case = Case(scene, "killed rank", "rank 1 of 2 in stage 2, --max-restarts 1", "ends well by itself, to equal bits")
    out = scene.fresh()
    once = out.parent / "struck"
    case.ended(run_ranks(scene.arguments(out), [{**hook, "once": str(once)}], restarts=1), 0)
    case.need(once.is_file(), "the rank was not killed")
    case.equals(out, reference)
    return case.outcome()


def _user_error(scene: Scene, reference: Path) -> Outcome:
    case = Case(scene, "a rank's user error", "an item that rank 1 alone cannot read", "one message names rank and row")
    out, junk = scene.fresh(), scene.folder / "junk.png"
    junk.write_bytes(b"junk " * 50)
    hook = {"at": "call", "of": "crossdistill.modalities.image:Image.decode", "nth": 20, "do": "junk",
            "path": str(junk), "rank": 1}  # fmt: skip
    said = case.ended(run_ranks(scene.arguments(out), [hook]), 1, r"error \(process 1 of 2", r"row \d+, column")
    case.need(said.text.count("error (process") == 1, "several messages")
    shutil.rmtree(out, ignore_errors=True)
    case.ended(run_ranks(scene.arguments(out)), 0)
    case.equals(out, reference)
    return case.outcome()
