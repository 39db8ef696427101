"""Output folders on disks that are full or that cannot be written: small file systems in memory, mounted for a case."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .case import Case
from .kills import where_it_was
from .scene import Outcome, Scene

_WHOLE = 160  # MiB: room for everything
_SIZES = {"0.25 MiB": 256, "6 MiB": 6144, "17 MiB": 17408, "30 MiB": 30720, "44 MiB": 45056}
_FILLED = {
    "in the bank": {"at": "call", "of": "crossdistill.bank.building:_Build.attempt", "nth": 2},
    "before the bank": {"at": "call", "of": "crossdistill.bank.half_built:_allocate"},
    "in a checkpoint": {"at": "replace", "of": r"distil-cmcd/step-.*\.sha256$", "point": "after", "nth": 2},
    "in a line of train.jsonl": {"at": "write", "of": r"train\.jsonl$", "mode": "a", "nth": 25},
    "at the student's weights": {"at": "call", "of": "crossdistill.pipeline.stages:save_encoder", "nth": 3},
    "among the pictures": {"at": "call", "of": "crossdistill.pipeline.showcase:write_bytes", "nth": 9},
    "at metrics.json": {"at": "call", "of": "crossdistill.pipeline.results:write_json"},
    "at report.html": {"at": "call", "of": "crossdistill.pipeline.commands:write_report"},
}  # fmt: skip


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def disk(place: Path, kib: int) -> Iterator[bool]:
    """A file system of some size in memory at ``place``; whether it could be had."""
    place.mkdir(parents=True)
    mounted = _mount("-t", "tmpfs", "-o", f"size={kib}k", "faults", str(place))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=False, capture_output=True)


def enlarge(place: Path) -> None:
    """Gives the file system room for everything."""
    _mount("-o", f"remount,size={_WHOLE}m", str(place))


def bad_places(scene: Scene) -> Iterator[Outcome]:
    """All cases."""
    yield _read_only(scene, begun=False)
    yield _read_only(scene, begun=True)
    for name, kib in _SIZES.items():
        yield _small(scene, name, kib)
    for number, (name, hook) in enumerate(_FILLED.items()):
        yield _filled(scene, name, hook, number)


def _read_only(scene: Scene, *, begun: bool) -> Outcome:
    moment = "when stage 2 is resumed" if begun else "from the beginning"
    case = Case(scene, "read-only output", moment, "exit 7; once writable, equal bits")
    place = scene.folder / f"read-only-{begun}"
    with disk(place, _WHOLE << 10) as mounted:
        if not mounted:
            return case.skipped("mounting is not permitted here")
        out = scene.fresh(place)
        if begun:
            hook = {"at": "call", "of": "crossdistill.training.state:TrainState.step_optimiser", "nth": 28}
            case.need(scene.launcher.run(scene.arguments(out), [hook]).killed, "it was not killed")
        _mount("-o", "remount,ro", str(place))
        case.ended(scene.launcher.run(scene.arguments(out)), 7, "This place cannot be written", "Read-only file system")
        _mount("-o", "remount,rw", str(place))
        case.finishes(out)
    return case.outcome()


def _small(scene: Scene, name: str, kib: int) -> Outcome:
    case = Case(scene, "full disk", f"a disk of {name}", "exit 7, whole files; once enlarged, equal bits")
    place = scene.folder / f"small-{kib}"
    with disk(place, kib) as mounted:
        if not mounted:
            return case.skipped("mounting is not permitted here")
        out = scene.fresh(place)
        said = case.ended(scene.launcher.run(scene.arguments(out)), 7, "disk is full|no room for", "MiB free|No space")
        case.whole(out)
        enlarge(place)
        case.finishes(out)
    return case.outcome(f"as expected; it ended in: {where_it_was(said.text.split('error: ')[0])}")


def _filled(scene: Scene, name: str, hook: dict[str, Any], number: int) -> Outcome:
    case = Case(scene, "full disk", f"fills up {name}", "exit 7, last checkpoint whole; once enlarged, equal bits")
    place = scene.folder / f"filled-{number}"
    with disk(place, 80 << 10) as mounted:
        if not mounted:
            return case.skipped("mounting is not permitted here")
        out, ballast = scene.fresh(place), place / "ballast"
        said = scene.launcher.run(scene.arguments(out), [{**hook, "do": "fill", "path": str(ballast)}])
        case.ended(said, 7, "disk is full|no room for")
        case.whole(out)
        enlarge(place)
        case.finishes(out)
    return case.outcome()
