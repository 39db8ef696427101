"""What the data sets of the field are made of: MATLAB files, parts of videos, rotated depth, and their splits."""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from scipy.io import savemat

import field_trees
from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.modalities import InputDefaults, parse_modality
from crossdistill.pairs import Pair, Pairs
from crossdistill.pairs.field.base import carve_val, keep_official_split
from crossdistill.pairs.field.matlab import read_mat
from crossdistill.pairs.field.media import VideoFrame, VideoSound

DEFAULTS = InputDefaults(size=16, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bicubic")


def _refusal(path: Path, name: str) -> str | None:
    try:
        read_mat(path, name)
    except PairsError as error:
        return str(error)
    return None


class TestMatlab:
    @pytest.mark.parametrize("compressed", [True, False])
    def test_reads_what_scipy_writes(self, compressed: bool, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        numbers = {
            f"n_{dtype}": (rng.uniform(0, 100, (3, 4)) * (-1 if dtype[0] in "if" else 1)).astype(dtype)
            for dtype in (
                "uint8",
                "int8",
                "uint16",
                "int16",
                "uint32",
                "int32",
                "uint64",
                "int64",
                "float32",
                "float64",
            )
        }
        content = {**numbers, "text": "Straße", "cells": field_trees.cells_of(["a", "bc", "def"]), "one": 7.0,
                   "record": {"first": np.arange(3), "second": "x"}, "none": np.zeros((0, 0))}  # fmt: skip
        savemat(tmp_path / "x.mat", content, do_compression=compressed)
        for name, values in numbers.items():
            found = read_mat(tmp_path / "x.mat", name)
            np.testing.assert_array_equal(found, values)
            assert isinstance(found, np.ndarray)
            assert found.dtype == values.dtype
        assert read_mat(tmp_path / "x.mat", "text") == "Straße"
        assert read_mat(tmp_path / "x.mat", "cells") == ["a", "bc", "def"]
        record = read_mat(tmp_path / "x.mat", "record")
        assert isinstance(record, dict)
        assert record["second"] == "x"
        np.testing.assert_array_equal(record["first"], [[0, 1, 2]])
        np.testing.assert_array_equal(read_mat(tmp_path / "x.mat", "one"), [[7.0]])
        with pytest.raises(PairsError, match="'text'"):
            read_mat(tmp_path / "x.mat", "texts")

    @given(seed=st.integers(0, 10_000), changes=st.integers(1, 12), cut=st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_no_damage_ends_in_anything_else_than_one_message(
        self, seed: int, changes: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "damaged.mat"
        cells = field_trees.cells_of(["/n/fs/a", "/n/fs/b"])
        savemat(path, {"cells": cells, "record": {"a": np.arange(40), "b": cells}}, do_compression=seed % 2 == 0)
        rng, content = np.random.default_rng(seed), bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), changes):
            content[place] = rng.choice([0, 1, 14, 255, rng.integers(0, 256)])
        path.write_bytes(content[: rng.integers(0, len(content))] if cut else content)
        for name in ("cells", "record"):
            said = _refusal(path, name)
            assert said is None or "damaged.mat" in said

    @pytest.mark.parametrize("compressed", [True, False])
    def test_half_a_text_is_no_text(self, compressed: bool, tmp_path: Path) -> None:
        path = tmp_path / "x.mat"
        savemat(path, {"text": "many words " * 40}, do_compression=compressed)
        for missing in (1, 9, 100 if not compressed else 20):
            path.write_bytes(path.read_bytes()[:-missing])
            with pytest.raises(PairsError, match=r"x\.mat(.|\n)*truncated"):
                read_mat(path, "text")

    def test_what_unpacks_to_too_much_is_refused(self, tmp_path: Path) -> None:
        savemat(tmp_path / "x.mat", {"big": np.zeros((9_000, 1_000))}, do_compression=True)
        assert (tmp_path / "x.mat").stat().st_size < 200_000
        with pytest.raises(PairsError, match="when it is unpacked"):
            read_mat(tmp_path / "x.mat", "big")


class TestMedia:
    def test_frame_and_sound_come_out_of_a_video(self, tmp_path: Path) -> None:
        path = field_trees.video(tmp_path / "a.mp4", seconds=2.0)
        frame, sound = VideoFrame(path), VideoSound(path)
        assert (frame.name, frame.suffix, str(frame)) == ("a.png", ".png", f"{path}#frame")
        assert (sound.name, sound.suffix, str(sound)) == ("a.wav", ".wav", f"{path}#sound")
        with Pillow.open(frame.open("rb")) as opened:
            assert (opened.format, opened.size) == ("PNG", (64, 48))
            assert float(np.asarray(opened).mean()) == pytest.approx(128, abs=20)  # from black to white
        with wave.open(sound.open("rb")) as opened:
            assert (opened.getnchannels(), opened.getsampwidth(), opened.getframerate()) == (1, 2, 16_000)
            samples = np.frombuffer(opened.readframes(opened.getnframes()), dtype="<i2").astype(float) / 32768
        assert len(samples) == pytest.approx(32_000, abs=2_100)
        middle = samples[8_000:24_000]
        assert np.fft.rfft(middle).__abs__().argmax() == pytest.approx(440, abs=2)
        assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)
        assert frame.read_bytes() == frame.read_bytes()
        assert sound.read_bytes() == sound.read_bytes()

    @pytest.mark.parametrize(("kind", "section"), [(VideoFrame, {"modality": "image", "size": 16}),
                                                   (VideoSound, {"modality": "audio"})])  # fmt: skip
    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nonsense", "no such track"])
    def test_videos_that_cannot_be_decoded(
        self, kind: type[VideoFrame | VideoSound], section: dict[str, Any], damage: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.mp4"
        if damage == "no such track":
            field_trees.video(path, sound=kind is VideoFrame, pictures=kind is VideoSound, seconds=0.5)
            assert (VideoFrame if kind is VideoSound else VideoSound)(path).read_bytes()  # the other one is there
        elif damage != "missing":
            content = field_trees.video(path, seconds=0.5).read_bytes()
            path.write_bytes(
                {"empty": b"", "truncated": content[: len(content) // 2], "nonsense": b"nonsense" * 99}[damage]
            )
        item = kind(path)
        modality = parse_modality(section).resolve(DEFAULTS)
        with pytest.raises(PairsError, match=r"a\.mp4"):
            modality.decode(item)

    @pytest.mark.parametrize("playlist", ["ffconcat version 1.0\nfile other.mp4\n",
                                          "#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"])  # fmt: skip
    def test_lists_of_other_files_are_no_videos(self, playlist: str, tmp_path: Path) -> None:
        field_trees.video(tmp_path / "other.mp4", seconds=0.5)
        path = field_trees.text(tmp_path / "a.mp4", playlist)
        for item in (VideoFrame(path), VideoSound(path)):
            with pytest.raises((PairsError, ValueError)):
                item.read_bytes()
        assert VideoSound(tmp_path / "other.mp4").read_bytes()

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = field_trees.video(tmp_path / "a.mp4", seconds=0.3)
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(MissingDependencyError, match=r"crossdistill\[video\]"):
            VideoFrame(path).read_bytes()


class TestSplits:
    @given(
        sizes=st.lists(st.integers(1, 6), min_size=12, max_size=60),
        share=st.floats(0.05, 0.5),
        order=st.randoms(use_true_random=False),
    )
    @settings(max_examples=40, deadline=None)
    def test_val_is_whole_groups_and_the_same_in_any_order(self, sizes: list[int], share: float, order: Any) -> None:
        rows = [
            Pair(source=Path(f"s{group}-{number}"), target=None, split="test" if group % 5 == 4 else "train",
                 group=f"g{group}", label=f"class {group % 2}")
            for group, size in enumerate(sizes) for number in range(size)
        ]  # fmt: skip
        carved = carve_val(rows, share, "set")
        chosen = {row.source for row in carved if row.split == "val"}
        shuffled = rows[:]
        order.shuffle(shuffled)
        assert {row.source for row in carve_val(shuffled, share, "set") if row.split == "val"} == chosen
        for group in {row.group for row in rows}:
            assert len({row.split for row in carved if row.group == group}) == 1
        assert all(row.split == "test" for row, old in zip(carved, rows, strict=True) if old.split == "test")
        train = sum(row.split == "train" for row in rows)
        assert 0 < len(chosen) <= share * train + 6
        assert len(Pairs(tuple(carved))) == len(rows)

    def test_a_share_of_nothing_and_a_single_group(self) -> None:
        rows = [Pair(source=Path(str(number)), target=None, split="train", group="g") for number in range(9)]
        assert carve_val(rows, 0.5, "set") == rows
        assert carve_val(rows, 0, "set") == rows
        two = [*rows, Pair(source=Path("x"), target=None, split="train", group="h")]
        assert [row.split for row in carve_val(two, 0.01, "set")] == ["train"] * 9 + ["val"]

    def test_an_official_split_that_separates_a_group_is_kept_and_told(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rows = [Pair(source=Path(str(number)), target=None, split="test" if number == 2 else "train", group="room")
                for number in range(3)]  # fmt: skip
        with pytest.raises(PairsError, match="leak"):
            Pairs(tuple(rows))
        kept = keep_official_split(rows, "set")
        assert [row.split for row in Pairs(tuple(kept))] == ["train", "train", "test"]
        assert [row.group for row in kept] == ["room (train)"] * 2 + ["room (test)"]
        assert "separates 1 groups, such as room" in capsys.readouterr().err
