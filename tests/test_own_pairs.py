"""A run's own pairs, opened again: the same rows in the same splits, or a refusal."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from tests.conftest import write_pairs

from crossdistill import errors, open_pairs
from crossdistill.pairs import PairsConfig, SplitConfig
from crossdistill.pipeline import make_config
from crossdistill.pipeline.folder import RunFolder, claim
from crossdistill.pipeline.own_pairs import own_items, own_pairs

Rows = list[dict[str, str]]


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    """A run folder with pairs of its own, as a run claims it."""
    manifest = write_pairs(tmp_path / "pairs", variants=4)
    config = make_config({"pairs": str(manifest), "source": {"size": 32}, "target": {"size": 32},
                          "out": str(tmp_path / "run")})  # fmt: skip
    return claim(config, open_pairs(config.pairs))


def rewritten(folder: RunFolder, change: str) -> None:
    """Another manifest in the place of the run's own, of as many rows."""
    place = Path(yaml.safe_load(folder.config.read_text())["pairs"]["manifest"])
    with folder.pairs.open(newline="") as stream:
        rows: Rows = list(csv.DictReader(stream))
    train = next(row for row in rows if row["split"] == "train")
    test = next(row for row in rows if row["split"] == "test")
    if change == "split":  # a training row becomes a test row
        train["split"], test["split"] = "test", "train"
    elif change == "order":
        rows.reverse()
    elif change == "label":
        train["label"] = "corners 3" if train["label"] != "corners 3" else "corners 4"
    elif change == "partner":
        train["target"], test["target"] = test["target"], train["target"]
    with place.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_same_pairs_are_taken(begun: RunFolder) -> None:
    with begun.pairs.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = own_pairs(begun)
    assert [(str(pair.source), pair.label, pair.split) for pair in found] == [
        (row["source"], row["label"], row["split"]) for row in rows
    ]
    assert len(own_items(begun, "target")) == len(rows)
    rewritten(begun, "nothing")  # as the run has recorded it
    assert [pair.split for pair in own_pairs(begun)] == [pair.split for pair in found]


@pytest.mark.parametrize("change", ["split", "order", "label", "partner"])
def test_as_many_other_rows_are_refused(begun: RunFolder, change: str) -> None:
    rewritten(begun, change)
    with pytest.raises(errors.RunFolderError, match="pairs have changed since this run was made") as caught:
        own_pairs(begun)
    assert "pairs.csv" in caught.value.details["expected"]
    if change == "split":
        assert caught.value.details["expected"].startswith("split ")


def test_another_seed_of_the_split_is_refused(begun: RunFolder) -> None:
    content = yaml.safe_load(begun.config.read_text())
    content["pairs"]["split"]["seed"] = 7
    begun.config.write_text(yaml.safe_dump(content))
    manifest = content["pairs"]["manifest"]
    splits = [[pair.split for pair in open_pairs(PairsConfig(manifest=manifest, split=SplitConfig(seed=seed)))]
              for seed in (0, 7)]  # fmt: skip
    assert splits[0] != splits[1]
    with pytest.raises(errors.RunFolderError, match="pairs have changed"):
        own_items(begun, "source")


def test_pairs_that_were_moved_together_are_taken(begun: RunFolder, tmp_path: Path) -> None:
    shutil.move(tmp_path / "pairs", tmp_path / "elsewhere" / "deeper")
    content = yaml.safe_load(begun.config.read_text())
    content["pairs"]["manifest"] = str(tmp_path / "elsewhere" / "deeper" / "pairs.csv")
    begun.config.write_text(yaml.safe_dump(content))
    found = own_pairs(begun)
    assert all("elsewhere" in str(pair.source) for pair in found)


def test_a_damaged_record_is_told(begun: RunFolder) -> None:
    begun.pairs.write_bytes(b"source,target\n\xff\xfe,x\n")
    with pytest.raises(errors.RunFolderError, match="damaged"):
        own_pairs(begun)
