"""Kills, full disks, damaged files: some of the fault harness in every test run, all of it among the slow ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.everything import open_scene, run
from faults.indices import index_faults
from faults.kills import chains, choose, kill_at
from faults.moments import INDEX_MOMENTS, MOMENTS, STAGES, Moment
from faults.scene import Scene
from faults.table import content, markdown

KILLS = 57
FIXED = (
    ("bank", "half-way through a shard"),
    ("stage 2", "between a checkpoint and its checksum"),
    ("evaluation", "half-way through metrics.json"),
)
KILLED_ADDITIONS = (("add", "half-way through the vectors"), ("add", "after it took its place"))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with open_scene() as opened:
        yield opened


def moment(stage: str, name: str) -> Moment:
    return next(each for each in MOMENTS if (each.stage, each.name) == (stage, name))


def test_a_run_that_is_killed_three_times_has_the_bits_of_one_that_is_not(scene: Scene) -> None:
    outcomes = kill_at(scene, [moment(stage, name) for stage, name in FIXED])
    assert [outcome.outcome for outcome in outcomes] == ["as expected"] * 3


def test_the_kills_are_spread_over_all_stages() -> None:
    moments, outside = choose(36, 0)
    assert len(moments) + outside == 36
    assert {each.stage for each in moments} == set(STAGES)
    for chain in chains(moments):
        order = [STAGES.index(each.stage) for each in chain]
        assert order == sorted(set(order))


def test_an_index_whose_addition_is_killed_is_as_before_or_as_after(scene: Scene) -> None:
    chosen = [each for each in INDEX_MOMENTS if (each.stage, each.name) in KILLED_ADDITIONS]
    outcomes = list(index_faults(scene, chosen))
    assert [outcome.outcome for outcome in outcomes] == ["as expected"] * 2


@pytest.mark.slow
def test_nothing_is_lost() -> None:
    outcomes, seconds = run(KILLS, seed=0)
    found = content(outcomes, 0, seconds)
    print(markdown(found))
    assert found["kills"] >= 30
    assert [outcome for outcome in outcomes if not outcome.holds] == []
