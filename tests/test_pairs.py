"""Manifests, folders and splits: what is read, and what is refused with which message."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdistill.errors import ConfigError, PairsError
from crossdistill.pairs import Pair, Pairs, PairsConfig, SplitConfig, assign_splits, open_pairs
from crossdistill.pairs.readers.manifest import read_manifest
from crossdistill.pairs.split import without_test
from crossdistill.validation import validated


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def csv(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


class TestManifest:
    def test_reads_columns_in_any_order_with_quotes_and_unpaired_rows(self, tmp_path: Path) -> None:
        touch(tmp_path, "a, b.png", "c.png", "d.png")
        text = 'label,target,source,group,split\nx,c.png,"a, b.png",g1,train\n,d.png,,,val\ny,,c.png,,test\n'
        # c.png is a target in one row and a source in another: two different items
        pairs = read_manifest(csv(tmp_path, text))
        assert [pair.paired for pair in pairs] == [True, False, False]
        assert pairs[0].source == tmp_path / "a, b.png"
        assert (pairs[0].label, pairs[0].split, pairs[0].group) == ("x", "train", "g1")
        assert pairs[1].source is None
        assert pairs[1].label is None
        assert pairs[2].target is None
        assert pairs.counts()["train"]["pairs"] == 1

    def test_reads_the_same_from_parquet(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        table = pa.table({"source": ["a.png", None], "target": ["b.png", "a.png"], "label": [3, None]})
        pq.write_table(table, tmp_path / "pairs.parquet")
        pairs = read_manifest(tmp_path / "pairs.parquet")
        assert pairs[0].label == "3"
        assert pairs[1].source is None

    def test_written_pairs_read_back_the_same(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        pairs = read_manifest(csv(tmp_path, "source,target,label\na.png,b.png,x\n"))
        pairs.to_csv(tmp_path / "copy.csv", base=tmp_path)
        again = read_manifest(tmp_path / "copy.csv")
        assert [(p.source, p.target, p.label) for p in again] == [(p.source, p.target, p.label) for p in pairs]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("source,target\n", "There are no pairs"),
            ("source,targte\na,b\n", "did you mean 'target'"),
            ("source\na.png\n", "missing: target"),
            ("source,target\na.png,b.png\nnone.png,b.png\n", r"row 3, column source: .*none.png"),
            ("source,target\na.png,b.png\na.png,b.png\n", r"twice(.|\n)*row 2 and pairs.csv, row 3"),
            ("source,target\n,\n", "neither a source nor a target"),
            ("source,target\na.png,b.png,c\n", "another number of fields"),
            ("source,target,split\na.png,b.png,trian\n", "Unknown split"),
            ("source,target,split\na.png,b.png,train\na.png,,\n", "others have none"),
            ("source,target,split,group\na.png,b.png,train,g\nb.png,a.png,test,g\n", "group 'g' in 'train' and 'test'"),
            ("source,target,split\na.png,b.png,train\na.png,a.png,test\n", "connected by shared files"),
        ],
    )
    def test_refuses(self, tmp_path: Path, text: str, message: str) -> None:
        touch(tmp_path, "a.png", "b.png")
        with pytest.raises(PairsError) as caught:
            read_manifest(csv(tmp_path, text))
        import re

        assert re.search(message, str(caught.value)), caught.value

    def test_refuses_what_is_no_table(self, tmp_path: Path) -> None:
        with pytest.raises(PairsError, match="missing"):
            read_manifest(tmp_path / "none.csv")
        (tmp_path / "pairs.txt").write_text("source,target\n")
        with pytest.raises(PairsError, match="unknown type"):
            read_manifest(tmp_path / "pairs.txt")
        (tmp_path / "pairs.parquet").write_bytes(b"not parquet")
        with pytest.raises(PairsError, match="Parquet"):
            read_manifest(tmp_path / "pairs.parquet")
        (tmp_path / "latin.csv").write_bytes("source,target\ncaf\xe9,b\n".encode("latin-1"))
        with pytest.raises(PairsError, match="not text"):
            read_manifest(tmp_path / "latin.csv")


class TestFolders:
    def test_matches_by_relative_stem_and_keeps_what_has_no_partner(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "rgb/a/1.jpg", "rgb/b/1.jpg", "rgb/a/2.jpg", "depth/a/1.png", "depth/b/1.png", "depth/b/.hidden"
        )
        pairs = open_pairs(
            PairsConfig(source=tmp_path / "rgb", target=tmp_path / "depth", label="parent", split=SplitConfig(test=0.5))
        )
        assert [pair.paired for pair in pairs] == [True, False, True]
        assert [pair.label for pair in pairs] == ["a", "a", "b"]

    def test_refuses_folders_that_do_not_match(self, tmp_path: Path) -> None:
        touch(tmp_path, "rgb/1.jpg", "depth/2.png", "twice/1.jpg", "twice/1.png")
        with pytest.raises(PairsError, match="No file of one folder has a partner"):
            open_pairs(PairsConfig(source=tmp_path / "rgb", target=tmp_path / "depth"))
        with pytest.raises(PairsError, match="same stem"):
            open_pairs(PairsConfig(source=tmp_path / "twice", target=tmp_path / "depth"))
        with pytest.raises(PairsError, match="folder is missing"):
            open_pairs(PairsConfig(source=tmp_path / "none", target=tmp_path / "depth"))
        with pytest.raises(PairsError, match="no sub-folder"):
            open_pairs(PairsConfig(source=tmp_path / "rgb", target=tmp_path / "rgb", group="parent"))


def make_pairs(groups: list[int], labels: list[str | None]) -> Pairs:
    return Pairs(
        tuple(
            Pair(source=Path(f"s{i}"), target=Path(f"t{i}"), group=str(group), label=label, where=f"row {i}")
            for i, (group, label) in enumerate(zip(groups, labels, strict=True))
        )
    )


class TestSplit:
    @given(
        groups=st.lists(st.integers(0, 30), min_size=40, max_size=120),
        seed=st.integers(0, 10),
        data=st.data(),
    )
    @settings(max_examples=40, deadline=None)
    def test_never_separates_a_group_and_keeps_every_row(
        self, groups: list[int], seed: int, data: st.DataObject
    ) -> None:
        labels = data.draw(st.lists(st.sampled_from(["x", "y", None]), min_size=len(groups), max_size=len(groups)))
        pairs = assign_splits(make_pairs(groups, labels), SplitConfig(val=0.2, test=0.3, seed=seed))
        assert [pair.source for pair in pairs] == [Path(f"s{i}") for i in range(len(groups))]
        by_group = {
            group: {pair.split for pair, g in zip(pairs, groups, strict=True) if g == group} for group in groups
        }
        assert all(len(found) == 1 for found in by_group.values())

    def test_is_seeded_stratified_and_near_the_wanted_fractions(self) -> None:
        labels: list[str | None] = ["a"] * 100 + ["b"] * 50 + [None] * 50
        original = make_pairs(list(range(200)), labels)
        first, again, other = (assign_splits(original, SplitConfig(seed=seed)) for seed in (0, 0, 1))
        assert [pair.split for pair in first] == [pair.split for pair in again]
        assert [pair.split for pair in first] != [pair.split for pair in other]
        for label, size in (("a", 100), ("b", 50), (None, 50)):
            test = sum(pair.split == "test" for pair in first if pair.label == label)
            assert abs(test - 0.2 * size) <= 1

    def test_rows_that_share_a_file_stay_together(self) -> None:
        rows = [Pair(source=Path("s"), target=Path(f"t{i}"), where=f"row {i}") for i in range(10)]
        rows += [Pair(source=Path(f"u{i}"), target=Path(f"v{i}"), where=f"other {i}") for i in range(10)]
        pairs = assign_splits(Pairs(tuple(rows)), SplitConfig())
        assert len({pair.split for pair in pairs.rows[:10]}) == 1
        assert len(set(pairs.group_ids)) == 11

    def test_a_given_split_is_kept(self) -> None:
        row = Pair(source=Path("s"), target=Path("t"), split="test")
        assert assign_splits(Pairs((row,)), SplitConfig())[0].split == "test"


def test_the_pairs_section_takes_a_string_and_refuses_nonsense(tmp_path: Path) -> None:
    assert validated(PairsConfig, "emoji").builtin == "emoji"
    assert validated(PairsConfig, "my/pairs.csv").manifest == Path("my/pairs.csv")
    for wrong in ({}, {"source": "a"}, {"manifest": "a", "builtin": "emoji"}, {"manifest": "a", "label": "parent"}):
        with pytest.raises(ConfigError, match=r"exactly one|needs? both|belong to"):
            validated(PairsConfig, wrong)
    with pytest.raises(ConfigError, match="Unknown built-in"):
        open_pairs(PairsConfig(builtin="emojis"))
    with pytest.raises(ConfigError, match="leave nothing"):
        validated(PairsConfig, {"manifest": "a", "split": {"val": 0.5, "test": 0.5}})


def test_settings_are_chosen_without_the_test_rows(tmp_path: Path) -> None:
    rows = [
        Pair(source=Path(f"s{n}"), target=Path(f"t{n}"), label="ab"[n % 2], split=split)
        for n, split in enumerate(("train", "train", "val", "val", "test", "test"))
    ]
    kept = without_test(Pairs(tuple(rows)))
    assert [row.split for row in kept] == ["train", "train", "test", "test"]
    assert [str(row.target) for row in kept] == ["t0", "t1", "t2", "t3"]
    with pytest.raises(PairsError, match="'val' has no rows for choosing settings"):
        without_test(Pairs(tuple(row for row in rows if row.split != "val")))
