"""SIGKILL at chosen and at random moments: several for one run, each resumed by the same command."""

from __future__ import annotations

import random
from pathlib import Path

from .checks import differences, half_files
from .moments import MOMENTS, STAGES, Moment
from .scene import Outcome, Scene

OUTSIDE = 6  # of the kills come at a random time, wherever that may be
_IN_A_ROW = 2  # of these, for one run


def choose(count: int, seed: int) -> tuple[list[Moment], int]:
    """Moments to be killed at, from all stages in turn, and how many kills come from outside at random times."""
    outside = min(OUTSIDE, count // 4) + max(0, count - min(OUTSIDE, count // 4) - len(MOMENTS))
    drawn = random.Random(seed)
    by_stage = [drawn.sample(found, len(found)) for stage in STAGES if (found := _of(stage))]
    chosen: list[Moment] = []
    while len(chosen) < count - outside:
        for moments in by_stage:
            if moments and len(chosen) < count - outside:
                chosen.append(moments.pop())
    return chosen, outside


def _of(stage: str) -> list[Moment]:
    return [moment for moment in MOMENTS if moment.stage == stage]


def chains(moments: list[Moment]) -> list[list[Moment]]:
    """Moments as runs that are killed several times: each has at most one of a stage, in the order of the stages."""
    found: list[list[Moment]] = []
    for moment in moments:
        free = next((chain for chain in found if all(each.stage != moment.stage for each in chain)), None)
        if free is None:
            found.append(free := [])
        free.append(moment)
    return [sorted(chain, key=lambda moment: STAGES.index(moment.stage)) for chain in found]


def kill_at(scene: Scene, chain: list[Moment]) -> list[Outcome]:
    """Kills one run at some moments, one after the other, and resumes it to its end."""
    out, rows = scene.fresh(), []
    arguments = scene.arguments(out)
    for moment in chain:
        ended = scene.launcher.run(arguments, [moment.hook])
        problems = half_files(out)
        if not ended.killed:
            problems.append(f"it was not killed but ended with code {ended.code}: {last_lines(ended.text)}")
        rows.append((f"{moment.stage}: {moment.name}", problems, ended.seconds))
    return _finished(scene, out, "SIGKILL from within", rows)


def kill_at_random(scene: Scene, count: int, seed: int, whole: float) -> list[Outcome]:
    """Kills runs from outside at random times.

    Args:
        scene: where.
        count: of kills.
        seed: of the times.
        whole: seconds of a run that nothing happens to.
    """
    drawn, outcomes = random.Random(seed), []
    while len(outcomes) < count:
        out, rows = scene.fresh(), []
        for _ in range(min(_IN_A_ROW, count - len(outcomes))):
            after = drawn.uniform(0.05, 0.8) * whole
            ended = scene.launcher.run(scene.arguments(out), kill_after=after)
            if ended.code == 0:  # it was quicker: no kill, and none that counts
                break
            problems = half_files(out) + ([] if ended.killed else [f"it ended before, with code {ended.code}"])
            rows.append((f"after {after:.2f} s, in: {where_it_was(ended.text)}", problems, ended.seconds))
        outcomes += _finished(scene, out, "SIGKILL from outside", rows)
    return outcomes


def _finished(scene: Scene, place: Path, kind: str, rows: list[tuple[str, list[str], float]]) -> list[Outcome]:
    ended = scene.launcher.run(scene.arguments(place))
    lost = [f"the run could not be resumed, code {ended.code}: {last_lines(ended.text)}"] if ended.code else []
    lost = lost or differences(scene.reference, place)
    outcomes = []
    for index, (moment, problems, seconds) in enumerate(rows):
        told = problems + lost
        more = ended.seconds if index == len(rows) - 1 else 0.0
        outcomes.append(
            Outcome(kind, moment, "whole files, resumed to equal bits", "; ".join(told[:4]) or "as expected",
                    not told, round(seconds + more, 1))
        )  # fmt: skip
    if not lost:
        scene.done(place)
    return outcomes


def where_it_was(text: str) -> str:
    """The last thing that a run said it was doing."""
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "warning", "note"))]
    return lines[-1] if lines else "its beginning"


def last_lines(text: str) -> str:
    """The end of what a process said, in one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-4:])
