"""The audit finds what was put in, names it, and leaves the innocent alone."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageDraw, ImageEnhance
from scipy.stats import multivariate_normal

from crossdistill.audit import Audit, Finding, audit, by_check
from crossdistill.audit.agreement import Canonical, evidence, principal
from crossdistill.audit.calibration import doubts, mismatched_share
from crossdistill.audit.copies import aligned_correlation
from crossdistill.audit.mismatch import Matching
from crossdistill.audit.page import write_page
from crossdistill.cli.app import main
from crossdistill.encoders import TeacherConfig, build_teacher
from crossdistill.modalities import parse_modality
from crossdistill.pairs import Pair, Pairs, SplitConfig, assign_splits
from crossdistill.pairs.table import unchecked

CLASSES, VARIANTS = 4, 30
SIDE = {"modality": "image", "size": 48}
GREY = {**SIDE, "channels": 1}


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code if isinstance(caught.value.code, int) else 0


def audited(rows: Sequence[Pair], source: Any = SIDE, target: Any = GREY, **options: Any) -> Audit:
    with unchecked():
        pairs = assign_splits(Pairs(tuple(rows), name="set"), SplitConfig())
        return audit(pairs, parse_modality(source), parse_modality(target), **options)


def found(result: Audit, check: str) -> list[Finding]:
    return [each for each in result.findings if each.check == check]


def _scene(file: Path, seed: int, *, rich: bool) -> None:
    """Five shapes at random places: in colours, or as lines."""
    rng = np.random.default_rng(seed)
    picture = Pillow.new("RGB", (48, 48), "white")
    pen = ImageDraw.Draw(picture)
    for number in range(5):
        (x, y), (width, height) = rng.integers(1, 27, 2).tolist(), rng.integers(6, 19, 2).tolist()
        colour = tuple(rng.integers(0, 200, 3).tolist())
        draw = pen.ellipse if number % 2 else pen.rectangle
        draw([x, y, x + width, y + height], fill=colour if rich else None, outline=None if rich else "black", width=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Coloured scenes and their outlines: 120 pairs that are as they should be, with splits."""
    folder = tmp_path_factory.mktemp("audit")
    made = []
    for label in range(CLASSES):
        for variant in range(VARIANTS):
            files = [folder / side / f"{label}-{variant}.png" for side in ("source", "target")]
            for file, rich in zip(files, (True, False), strict=True):
                _scene(file, 1000 * label + variant, rich=rich)
            made.append(Pair(source=files[0], target=files[1], label=str(label), where=f"row {len(made)}"))
    return list(assign_splits(Pairs(tuple(made)), SplitConfig()))


def test_pairs_that_are_as_they_should_be(rows: list[Pair]) -> None:
    result = audited(rows)
    assert result.count("severe") == result.count("warning") == 0
    assert isinstance(result.matching, Matching)
    assert result.matching.pairing.signal == "clear"
    assert result.matching.pairing.accuracy > 0.97
    assert not result.fails("warning")


class TestRows:
    def test_everything_that_pairs_refuse_is_listed_at_once(self, rows: list[Pair]) -> None:
        broken = [
            *(replace(row, group="a") for row in rows[:2]),
            *rows[2:12],
            replace(rows[12], split=None),
            Pair(source=None, target=None, split="train", where="an empty one"),
            replace(rows[11], where="again"),
            Pair(source=rows[3].source, target=rows[20].target, split=_other(rows[3]), where="shares a file"),
        ]
        broken[0] = replace(broken[0], split="train")
        broken[1] = replace(broken[1], split="test")
        result = audited(broken)
        messages = {each.message for each in result.findings}
        assert "A row has neither a source nor a target." in messages
        assert "The same pair stands twice." in messages
        assert f"1 of {len(broken)} rows have no split, and the others have one." in messages
        assert "The group 'a' is in 2 splits." in messages
        leaks = [each for each in found(result, "leak") if each.side == "source" and "One source item" in each.message]
        assert [set(each.rows) for each in leaks] == [{3, len(broken) - 1}]
        assert {each.severity for each in [*leaks, *found(result, "rows")]} == {"severe"}

    def test_a_split_without_pairs(self, rows: list[Pair]) -> None:
        result = audited([replace(row, split="train") for row in rows[:20]])
        told = {each.message: each.severity for each in found(result, "splits")}
        assert told == {
            "The split 'val' has no pairs.": "warning",
            "The split 'test' has no pairs.": "warning",
        }
        assert "few" in str(result.matching)

    def test_labels(self, rows: list[Pair]) -> None:
        chosen = [row for row in rows if row.label in ("0", "1")]
        few = [replace(row, label="rare", split="train") for row in rows if row.label == "2"][:2]
        tested = [replace(row, label="new", split="test") for row in rows if row.label == "3"][:2]
        result = audited([*chosen, *few, *tested])
        told = " ".join(each.message for each in found(result, "labels"))
        assert "1 of 4 classes have fewer than 5 training rows: rare." in told
        assert "1 of 4 classes are in no training row: new." in told
        assert "1 of 4 classes are in no test row: rare." in told
        assert result.to_json()["labels"]["rare"] == {"train": 2, "val": 0, "test": 0}
        one = audited([replace(row, label="only") for row in rows[:70]])
        assert [each.message for each in found(one, "labels")] == ["There is only one class."]


def _other(row: Pair) -> Any:
    return "train" if row.split != "train" else "test"


class TestItems:
    def test_every_unreadable_item_is_named(self, rows: list[Pair], tmp_path: Path) -> None:
        cut, text, objects = tmp_path / "cut.png", tmp_path / "text.png", tmp_path / "objects.npy"
        assert isinstance(rows[0].source, Path)
        cut.write_bytes(rows[0].source.read_bytes()[:-40])
        text.write_text("no picture")
        np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        result = audited(
            [
                *rows[3:10], replace(rows[0], source=cut), replace(rows[1], target=text),
                replace(rows[2], target=objects), replace(rows[10], source=tmp_path / "gone.png"),
                replace(rows[11], mask=text),
            ]
        )  # fmt: skip
        unreadable = found(result, "unreadable")
        assert Counter(each.rows for each in unreadable) == Counter([(7,), (8,), (9,), (10,), (11,)])
        by_row = {each.rows[0]: each for each in unreadable}
        assert by_row[7].side == "source"
        assert "truncated" in by_row[7].message
        assert str(cut) in by_row[7].where
        assert "row 0" in by_row[7].where
        assert "missing" in by_row[10].message
        assert "mask" in by_row[11].where
        assert all(each.severity == "severe" for each in unreadable)

    def test_an_item_of_many_rows_is_one_finding(self, rows: list[Pair], tmp_path: Path) -> None:
        text = tmp_path / "text.png"
        text.write_text("no picture")
        result = audited([replace(row, source=text, split="train") for row in rows[:5]])
        assert [each.rows for each in found(result, "unreadable")] == [(0, 1, 2, 3, 4)]

    def test_empty_targets(self, rows: list[Pair], tmp_path: Path) -> None:
        blank, dot = tmp_path / "blank.png", tmp_path / "dot.png"
        Pillow.new("L", (48, 48), 255).save(blank)
        picture = Pillow.new("L", (48, 48), 255)
        picture.putpixel((20, 20), 0)
        picture.save(dot)
        result = audited([*rows[2:20], replace(rows[0], target=blank), replace(rows[1], target=dot)])
        told = {each.rows: each.severity for each in found(result, "empty")}
        assert told == {(18,): "warning", (19,): "note"}

    def test_masks_of_another_size(self, rows: list[Pair], tmp_path: Path) -> None:
        right, wrong = tmp_path / "right.png", tmp_path / "wrong.png"
        Pillow.new("P", (48, 48)).save(right)
        Pillow.new("P", (24, 48)).save(wrong)
        for workers in (0, 1):
            result = audited([*rows[2:40], replace(rows[0], mask=right), replace(rows[1], mask=wrong)], workers=workers)
            masks = [each for each in found(result, "inconsistent") if "mask" in each.message]
            assert [(each.rows, each.severity) for each in masks] == [((39,), "severe")]
            assert "24 x 48" in masks[0].message

    def test_odd_sizes_and_modes(self, rows: list[Pair], tmp_path: Path) -> None:
        odd = tmp_path / "odd.jpg"
        Pillow.open(str(rows[0].source)).convert("L").resize((40, 40)).save(odd)
        told = {
            each.message: each.severity
            for each in found(audited([replace(rows[0], source=odd), *rows[1:20]]), "inconsistent")
        }
        assert told == {
            "One source has mode L; RGB is usual (19 of 20).": "warning",
            "One source has size 40 x 40; 48 x 48 is usual (19 of 20).": "note",
            "One source has format JPEG; PNG is usual (19 of 20).": "note",
        }


class TestMeasured:
    def _depth(self, rows: list[Pair], folder: Path, change: dict[int, Any]) -> Audit:
        made = []
        for number, row in enumerate(rows):
            file = folder / f"{number}.npy"
            across = (
                np.linspace(1, 2 + number % 5, 48)[None].repeat(48, 0)
                + 0.1 * np.sin(np.arange(48) * (number + 3))[:, None]
            )
            np.save(file, change.get(number, lambda metres: (1000 * metres).astype(np.uint16))(across))
            made.append(replace(row, target=file))
        return audited(made, target={"modality": "depth", "size": 48, "far": 100_000})

    def test_a_unit_that_is_another(self, rows: list[Pair], tmp_path: Path) -> None:
        result = self._depth(rows[:20], tmp_path, {3: lambda metres: (1000 * metres).astype(np.float32)})
        unit = found(result, "unit")
        assert [(each.rows, each.severity) for each in unit] == [((3,), "severe")]
        assert 500 < unit[0].numbers["ratio"] < 2000
        assert any("dtype float32" in each.message for each in found(result, "inconsistent"))

    def test_the_facts_of_what_is_refused_still_tell_of_the_unit(self, rows: list[Pair], tmp_path: Path) -> None:
        made = []
        for number, row in enumerate(rows[:12]):
            file = tmp_path / f"{number}.npy"
            np.save(file, np.linspace(1, 4, 48)[None].repeat(48, 0).astype(np.float32) * (1000 if number == 5 else 1))
            made.append(replace(row, target=file))
        result = audited(made, target={"modality": "depth", "size": 48})
        assert [each.rows for each in found(result, "unit")] == [(5,)]
        assert [each.rows for each in found(result, "unreadable")] == [(5,)]
        assert "unit" in found(result, "unreadable")[0].message

    def test_missing_and_saturated_values(self, rows: list[Pair], tmp_path: Path) -> None:
        def holes(metres: Any) -> Any:
            stored = (1000 * metres).astype(np.uint16)
            stored[:, :30] = 0
            return stored

        def flat(metres: Any) -> Any:
            stored = (1000 * metres).astype(np.uint16)
            stored[:10] = 65535
            return stored

        result = self._depth(rows[:20], tmp_path, {2: holes, 4: flat})
        missing, saturated = found(result, "missing values"), found(result, "saturated")
        assert [each.rows for each in missing] == [(2,)]
        assert missing[0].numbers["missing"] == pytest.approx(30 / 48)
        assert [each.rows for each in saturated] == [(4,)]

    def test_sounds(self, rows: list[Pair], tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        made = []
        for number, row in enumerate(rows[:20]):
            wave = np.sin(np.arange(8000) * (0.05 + 0.01 * number)) * 0.4 + 0.01 * rng.normal(size=8000)
            rate = 8000 if number == 1 else 16000
            wave = {2: np.clip(3 * wave, -1, 1), 3: 1e-5 * wave, 4: 0 * wave}.get(number, wave)
            file = tmp_path / f"{number}.wav"
            soundfile.write(file, wave, rate, subtype="FLOAT")
            made.append(replace(row, target=file))
        result = audited(made, target={"modality": "audio", "seconds": 0.5})
        rate_of = [each for each in found(result, "inconsistent") if "rate" in each.message]
        assert [(each.rows, each.severity) for each in rate_of] == [((1,), "warning")]
        assert [each.rows for each in found(result, "clipped")] == [(2,)]
        assert [each.rows for each in found(result, "silence")] == [(3,)]
        assert [each.rows for each in found(result, "empty")] == [(4,)]


def _jpeg(picture: Pillow.Image) -> Pillow.Image:
    return picture


def _shifted(picture: Pillow.Image) -> Pillow.Image:
    """By a hundredth of the side."""
    moved = Pillow.new("RGB", (96, 96), "white")
    moved.paste(picture.resize((96, 96)), (1, 1))
    return moved


CHANGES = {
    "jpeg": _jpeg,
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.8),
    "smaller": lambda picture: picture.resize((40, 40)),
    "shifted": _shifted,
}


class TestCopies:
    def _with_copy(self, rows: list[Pair], folder: Path, change: Any, split: str, group: str | None) -> Audit:
        first = replace(rows[7], group=group)
        files = {}
        for side in ("source", "target"):
            files[side] = folder / f"{side}.jpg"
            change(Pillow.open(str(first.item(side))).convert("RGB")).save(files[side], quality=70)  # type: ignore[arg-type]
        twin = replace(first, source=files["source"], target=files["target"], split=split, where="twin")  # type: ignore[arg-type]
        return audited([*rows[:7], first, *rows[8:40], twin])

    @pytest.mark.parametrize("change", list(CHANGES))
    def test_a_changed_copy_in_another_split_is_a_leak(self, rows: list[Pair], tmp_path: Path, change: str) -> None:
        result = self._with_copy(rows, tmp_path, CHANGES[change], _other(rows[7]), None)
        clusters = [cluster for cluster in result.clusters if cluster.side is None]
        assert [cluster.rows for cluster in clusters] == [(7, 40)]
        assert clusters[0].crosses == "splits"
        assert not clusters[0].exact
        leaks = [each for each in found(result, "leak") if each.severity == "severe"]
        assert [each.rows for each in leaks] == [(7, 40)]
        assert result.fails("severe")

    def test_severity_follows_what_is_crossed(self, rows: list[Pair], tmp_path: Path) -> None:
        for place, (group, severity) in enumerate(((None, "warning"), ("same", "note"))):
            (folder := tmp_path / str(place)).mkdir()
            result = self._with_copy(rows, folder, _jpeg, str(rows[7].split), group)
            assert [(each.rows, each.severity) for each in found(result, "near-duplicate")] == [((7, 40), severity)]

    def test_equal_bytes_on_one_side(self, rows: list[Pair], tmp_path: Path) -> None:
        twin = tmp_path / "twin.png"
        assert isinstance(rows[5].target, Path)
        twin.write_bytes(rows[5].target.read_bytes())
        result = audited([*rows[:6], replace(rows[6], target=twin, split=rows[5].split), *rows[7:30]])
        duplicates = found(result, "duplicate")
        assert [(each.rows, each.side, each.severity) for each in duplicates] == [((5, 6), "target", "warning")]

    def test_one_file_in_several_rows_is_no_copy(self, rows: list[Pair]) -> None:
        result = audited([*rows[:30], replace(rows[1], source=rows[0].source, split=rows[0].split)])
        assert not [cluster for cluster in result.clusters if {0, 1} <= set(cluster.rows)]

    def test_vectors(self, rows: list[Pair], tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        made = []
        for number, row in enumerate(rows[:30]):
            vector = rng.normal(size=16)
            if number == 9:
                vector = np.load(tmp_path / "8.npy") * (1 + 1e-5)
            np.save(tmp_path / f"{number}.npy", vector.astype(np.float32))
            made.append(replace(row, target=tmp_path / f"{number}.npy"))
        result = audited(made, target={"modality": "embedding", "width": 16})
        assert [cluster.rows for cluster in result.clusters if cluster.side == "target"] == [(8, 9)]

    def test_alignment_undoes_a_small_change(self) -> None:
        y, x = np.mgrid[0:32, 0:32]
        blobs = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 20) for a, b in ((10, 12), (10.8, 11.3), (20, 8))]
        one, moved, other = (blob[None, None].astype(np.float32) for blob in blobs)
        assert np.corrcoef(one.ravel(), moved.ravel())[0, 1] < 0.97
        assert aligned_correlation(one, 3 * moved + 2)[0] > 0.99
        assert aligned_correlation(one, other)[0] < 0.5
        assert aligned_correlation(one, np.zeros_like(one))[0] == 0


class TestMismatch:
    def test_swapped_pairs_are_ranked_first_and_given_their_partners(self, rows: list[Pair]) -> None:
        swapped = [5, 33, 50, 71, 88, 110]
        mixed = list(rows)
        for place, row in enumerate(swapped):
            mixed[row] = replace(rows[row], target=rows[swapped[place - 1]].target)
        matching = audited(mixed).matching
        assert isinstance(matching, Matching)
        ranked = matching.rows[matching.ranked][: len(rows) // 10].tolist()
        assert set(swapped) <= set(ranked)
        share = matching.pairing.share
        assert share.low <= len(swapped) / len(rows) <= share.high
        assert matching.partners
        right = sum(rows[row].target == mixed[other].target for row, other in matching.partners.items())
        assert right >= 0.8 * len(matching.partners)

    def test_strangers_are_not_accused(self, rows: list[Pair]) -> None:
        order = np.random.default_rng(3).permutation(len(rows))
        strangers = [
            replace(row, target=rows[int(place)].target, group=None) for row, place in zip(rows, order, strict=True)
        ]
        result = audited(strangers)
        assert isinstance(result.matching, Matching)
        assert result.matching.pairing.signal == "none"
        assert not found(result, "mismatched pair")
        assert not found(result, "mismatched pairs")
        assert result.to_json()["matching"]["share"] is None
        assert result.to_json()["matching"]["ranking"] == []

    def test_the_teacher_is_a_view_of_its_own(self, rows: list[Pair]) -> None:
        teacher = build_teacher(TeacherConfig(backbone="test_resnet", weights="random"), parse_modality(SIDE))
        result = audited(rows, teacher=teacher)
        assert isinstance(result.matching, Matching)
        assert result.matching.views == [
            ("teacher", "teacher"), ("teacher", "look"), ("look", "teacher"), ("look", "look"),
        ]  # fmt: skip
        assert result.teacher is not None
        assert "test_resnet" in result.teacher

    def test_a_teacher_of_vectors_is_not_shown_pictures(self, rows: list[Pair], tmp_path: Path) -> None:
        made = []
        for number, row in enumerate(rows):
            values = np.asarray(Pillow.open(str(row.source)).resize((8, 8)), dtype=np.float32).ravel()
            np.save(tmp_path / f"{number}.npy", values)
            made.append(replace(row, source=tmp_path / f"{number}.npy"))
        source = {"modality": "embedding", "width": 192}
        teacher = build_teacher(TeacherConfig(backbone="identity", weights="none"), parse_modality(source))
        result = audited(made, source=source, teacher=teacher)
        assert isinstance(result.matching, Matching)
        assert result.matching.views == [("teacher", "look"), ("look", "look")]

    def test_equal_runs_are_equal_and_processes_change_nothing(self, rows: list[Pair]) -> None:
        first, second, third = (audited(rows, workers=workers).to_json() for workers in (0, 0, 2))
        assert first == second == third


class TestStatistics:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.3]))
    def test_the_share_of_wrong_pairs_is_estimated(self, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        chances = rng.beta(0.1, 20, size=(1, 4000))
        wrong = rng.random(4000) < share
        chances[0, wrong] = rng.random(int(wrong.sum()))
        estimate = mismatched_share(chances, np.arange(4000))
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.value == pytest.approx(share, abs=0.06)
        doubt = doubts(chances, estimate.value)
        assert ((doubt >= 0) & (doubt <= 1)).all()
        order = np.argsort(chances[0])
        assert (np.diff(doubt[order]) >= -1e-9).all()  # the better a pair fits, the smaller the doubt
        if share:
            assert doubt[wrong].mean() > 0.6 > 0.2 > doubt[~wrong].mean()

    def test_evidence_is_the_logarithm_of_the_ratio_of_densities(self) -> None:
        rng = np.random.default_rng(0)
        u, v, correlation = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), np.array([0.7, 0.2])
        found_evidence = evidence(u, v, correlation)
        for i in range(3):
            for j in range(4):
                expected = sum(
                    multivariate_normal([0, 0], [[1, r], [r, 1]]).logpdf([a, b])
                    - multivariate_normal([0, 0], np.eye(2)).logpdf([a, b])
                    for a, b, r in zip(u[i], v[j], correlation, strict=True)
                )
                assert found_evidence[i, j] == pytest.approx(expected)

    def test_canonical_correlations_are_found(self) -> None:
        rng = np.random.default_rng(0)
        shared = rng.normal(size=(3000, 2))
        x = np.concatenate([shared, rng.normal(size=(3000, 3))], 1) @ rng.normal(size=(5, 5))
        y = np.concatenate([rng.normal(size=(3000, 4)), shared], 1) @ rng.normal(size=(6, 6))
        spaces = [principal([each], 6) for each in (x, y)]
        u, v = Canonical.fit(*spaces).variates(*spaces)
        measured = (u * v).mean(axis=0)
        assert (measured[:2] > 0.9).all()
        assert (np.abs(measured[2:]) < 0.1).all()

    def test_blocks_of_any_scale_count_alike(self) -> None:
        rng = np.random.default_rng(0)
        one, other = rng.normal(size=(200, 3)), rng.normal(size=(200, 3))
        here, there = principal([one, other], 6), principal([one * 1000, other / 1000], 6)
        np.testing.assert_allclose(np.abs(here), np.abs(there), rtol=1e-6)
        assert principal([np.ones((50, 3))], 4).shape == (50, 1)  # nothing varies, and nothing is divided by zero


def test_facts_of_modalities(tmp_path: Path) -> None:
    drawing = tmp_path / "a.svg"
    drawing.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    assert parse_modality({"modality": "sketch"}).facts(drawing) == {"format": "SVG"}
    pixels = tmp_path / "a.npy"
    np.save(pixels, np.zeros((5, 7, 3), np.uint8))
    assert parse_modality(SIDE).facts(pixels) == {"width": 7, "height": 5, "mode": "RGB", "format": "NPY"}
    wave = tmp_path / "a.wav"
    soundfile.write(wave, np.full((800, 2), 0.1), 8000, subtype="FLOAT")
    facts = parse_modality({"modality": "audio"}).facts(wave)
    assert facts == {"rate": 8000, "channels": 2, "seconds": 0.1, "clipped": 0.0, "loudness": -20.0}
    warm = tmp_path / "b.npy"
    np.save(warm, np.full((4, 6), 7000, np.uint16))
    assert "median" not in parse_modality({"modality": "thermal", "degrees_per_unit": 0.04}).facts(warm)
    assert parse_modality({"modality": "thermal"}).facts(warm)["median"] == 7000.0
    assert parse_modality({"modality": "embedding", "width": 4}).facts(warm) == {}


class TestCommand:
    @pytest.fixture
    def folder(self, rows: list[Pair], tmp_path: Path) -> Path:
        """A folder with a manifest, one truncated file and a hostile label."""
        with (tmp_path / "manifest.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["source", "target", "label"])
            for number, row in enumerate(rows[:70]):
                writer.writerow([row.source, row.target, "<script>alert(1)</script>" if number < 9 else row.label])
            writer.writerow([tmp_path / "<b>cut.png", rows[80].target, "x"])
        assert isinstance(rows[80].source, Path)
        (tmp_path / "<b>cut.png").write_bytes(rows[80].source.read_bytes()[:90])
        (tmp_path / "dataset.json").write_text(json.dumps({"name": "<i>set", "source": SIDE, "target": GREY}))
        return tmp_path

    def test_files_summary_and_exit_code(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = folder / "out"
        assert call("audit", folder, "--out", out, "--workers", 0) == 9
        output = capsys.readouterr()
        assert "unreadable" in output.out
        assert "severe" in output.out
        assert str(out / "audit.html") in output.out
        assert "The audit of <i>set found something severe" in output.err
        assert "Traceback" not in output.err
        content = json.loads((out / "audit.json").read_text())
        assert content["counts"]["severe"] == 1
        assert content["modalities"]["target"]["channels"] == 1  # from dataset.json
        page = (out / "audit.html").read_text()
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "<b>cut" not in page
        assert "<i>set" not in page
        assert 'src="data:image/png;base64,' in page
        assert "http://" not in page.replace("http://www.w3.org", "")

    def test_json_alone_on_standard_output(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("audit", folder, "--json", "--fail-on", "never", "--workers", 0) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["format"] == 1
        severe = [each for each in content["findings"] if each["severity"] == "severe"]
        assert [each["check"] for each in severe] == ["unreadable"]
        assert severe[0]["rows"] == [70]

    def test_levels(self, folder: Path, rows: list[Pair]) -> None:
        lines = (folder / "manifest.csv").read_text().splitlines()
        (folder / "good.csv").write_text("\n".join(lines[:-1]))
        here = (folder / "good.csv", "--workers", 0)
        assert call("audit", *here) == 0
        assert call("audit", *here, "--fail-on", "warning", "--target", "image,channels=1") == 2
        (folder / "few.csv").write_text("\n".join([lines[0], *lines[11:14], *lines[32:60]]))
        assert call("audit", folder / "few.csv", "--workers", 0) == 0
        assert call("audit", folder / "few.csv", "--workers", 0, "--fail-on", "warning") == 9  # rare labels

    def test_a_configuration(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = tmp_path / "run.yaml"
        content = {
            "pairs": str(folder / "manifest.csv"), "source": SIDE, "target": GREY, "out": str(tmp_path / "run"),
            "teacher": {"backbone": "test_resnet", "weights": "random"}, "student": {"backbone": "test_resnet"},
        }  # fmt: skip
        config.write_text(yaml.safe_dump(content))
        assert call("audit", config, "--json", "--workers", 0, "--fail-on", "never") == 0
        assert "test_resnet" in json.loads(capsys.readouterr().out)["teacher"]
        assert call("audit", config, "--json", "--workers", 0, "--fail-on", "never", "--teacher", "none") == 0
        assert json.loads(capsys.readouterr().out)["teacher"] is None
        assert not (tmp_path / "run").exists()

    def test_modalities_and_teachers_in_short(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--json", "--workers", 0, "--fail-on", "never", "--target", "sketch", "--source"]
        teacher = ["--teacher", "backbone=test_resnet,weights=random"]
        source = "size=40,mean=[0.5, 0.5, 0.5],fit=pad"
        assert call("audit", folder, *options, source, *teacher) == 0
        content = json.loads(capsys.readouterr().out)["modalities"]
        assert content["target"]["modality"] == "sketch"
        assert (content["source"]["size"], content["source"]["fit"]) == (40, "pad")

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["none.csv"], 3, "There are no such pairs"),
            (["emojis"], 3, "did you mean 'emoji'"),
            (["{folder}", "--fail-on", "bad"], 2, "severe, warning or never"),
            (["{folder}", "--teacher", "resnet99"], 2, "Unknown teacher"),
            (["{folder}", "--teacher", "weights=[1"], 2, "not valid YAML"),
            (["{folder}", "--source", "size=9,x"], 2, "no key=value"),
            (["{folder}", "--source", "imagge"], 2, "did you mean 'image'"),
            (["{folder}", "--target", "size=-1"], 2, "--target"),
            (["{folder}", "--out", "/proc/no", "--workers", "0"], 7, "cannot be written"),
            (["{folder}/run.yaml"], 2, "has not been trained"),
            (["{folder}", "--device", "abacus"], 2, "device cannot be used"),
        ],
    )
    def test_mistakes(
        self, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
    ) -> None:
        if "/proc/no" in arguments and not Path("/proc").is_dir():
            pytest.skip("no /proc here")
        content = {
            "pairs": str(folder / "manifest.csv"), "out": str(folder / "run"), "pretrain": {"backbone": "test_resnet"},
            "teacher": {"weights": "pretrain"},
        }  # fmt: skip
        (folder / "run.yaml").write_text(yaml.safe_dump(content))
        assert call("audit", *(each.format(folder=folder) for each in arguments)) == code
        output = capsys.readouterr().err
        assert message in " ".join(output.split())
        assert "Traceback" not in output


def test_the_page_of_a_weak_signal_and_of_none(rows: list[Pair], tmp_path: Path) -> None:
    result = audited(rows)
    assert isinstance(result.matching, Matching)
    weak = replace(result.matching.pairing, signal="weak", doubt=np.full(len(rows), np.nan))
    for name, pairing in (("weak", weak), ("none", replace(weak, signal="none"))):
        write_page(replace(result, matching=replace(result.matching, pairing=pairing)), tmp_path / f"{name}.html")
    assert "most of them are probably right" in (tmp_path / "weak.html").read_text()
    assert "Nothing is said about single pairs" in (tmp_path / "none.html").read_text()
    assert json.dumps(result.to_json(), allow_nan=False)


def test_findings_come_in_order(rows: list[Pair]) -> None:
    result = audited([*rows[:20], Pair(source=None, target=None, split="train")])
    severities = [severity for severity, _, _ in by_check(result.findings)]
    assert severities == sorted(severities, key=["severe", "warning", "note"].index)
    assert torch.is_grad_enabled()
