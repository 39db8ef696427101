"""All faults in turn, on one scene."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .damage import damaged_files
from .indices import index_faults
from .kills import chains, choose, kill_at, kill_at_random
from .launch import Launcher, run_real
from .many import many_ranks
from .others import other_faults
from .places import bad_places
from .scene import Outcome, Scene, prepare

PARTS = ("kills", "damage", "places", "others", "indices", "ranks")


@contextmanager
def open_scene() -> Iterator[Scene]:
    """A scene whose reference is a run as a user starts it: ``python -m crossdistill run``."""
    with tempfile.TemporaryDirectory(prefix="crossdistill-faults-") as name:
        folder = Path(name)
        prepare(folder)
        with Launcher(folder) as launcher:
            scene = Scene(folder, launcher, folder / "reference" / "run")
            scene.reference.parent.mkdir()
            ended = run_real(scene.arguments(scene.reference))
            if ended.code:
                raise RuntimeError(f"the run that nothing happens to fails:\n{ended.text}")
            yield scene


def run(kills: int, seed: int, parts: Sequence[str] = PARTS) -> tuple[list[Outcome], float]:
    """Some parts of the harness, or all.

    Args:
        kills: how many processes are killed in the part ``kills``.
        seed: of moments and times.
        parts: of ``PARTS``.

    Returns:
        What came of each fault, and the seconds of all.
    """
    started, outcomes = time.monotonic(), []
    with open_scene() as scene:
        for each in _faults(scene, kills, seed, parts):
            outcomes.append(each)
            verdict = "skipped" if not each.strikes else "as expected" if each.holds else f"FAILED: {each.outcome}"
            print(f"{each.kind}, {each.moment}: {verdict} ({each.seconds:.0f} s)", file=sys.stderr, flush=True)
    return outcomes, time.monotonic() - started


def _faults(scene: Scene, kills: int, seed: int, parts: Sequence[str]) -> Iterator[Outcome]:
    if "kills" in parts:
        yield from killed(scene, kills, seed)
    for part, faults in (("damage", damaged_files), ("places", bad_places), ("others", other_faults),
                         ("indices", index_faults)):  # fmt: skip
        if part in parts:
            yield from faults(scene)
    if "ranks" in parts:
        yield from many_ranks(scene)


def killed(scene: Scene, kills: int, seed: int) -> Iterator[Outcome]:
    """SIGKILL, from within and from outside."""
    moments, outside = choose(kills, seed)
    for chain in chains(moments):
        yield from kill_at(scene, chain)
    if outside:
        whole = scene.launcher.run(scene.arguments(scene.fresh())).seconds
        yield from kill_at_random(scene, outside, seed, whole)
