"""The generated set `dial`: what is said to be true of it is true."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import Ridge

from building import content, resumed
from crossdistill.errors import ConfigError
from crossdistill.pairs import open_pairs
from crossdistill.pairs.builtin import open_builtin
from crossdistill.pairs.builtin.dial import DialOptions, agreement, draw_factors, information, truth
from crossdistill.pairs.making.scenes import SHAPES, Scene, draw_colour, draw_lines

MANY = 8_000


@cache
def factors(**options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and kept of many items, ``(MANY, factors)`` each."""
    settings = DialOptions(**options)
    drawn = [draw_factors(number, settings) for number in range(MANY)]
    return tuple(np.array(part) for part in zip(*drawn, strict=True))  # type: ignore[return-value]


def measured_bits(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two columns, by counting."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1 / len(first))
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float((joint[joint > 0] * np.log2(joint[joint > 0] / product[joint > 0])).sum())


class TestTruth:
    @pytest.mark.parametrize(("keep", "classes"), [(0.0, 10), (0.35, 3), (0.8, 10), (1.0, 12)])
    def test_the_closed_forms_are_what_a_simulation_finds(self, keep: float, classes: int) -> None:
        source, target, _ = factors(keep=keep, classes=classes, seed=3)
        for column, count in enumerate(DialOptions(classes=classes).factors.values()):
            same = agreement(keep, count)
            found = float((source[:, column] == target[:, column]).mean())
            error = 4 * np.sqrt(same * (1 - same) / MANY)
            assert found == pytest.approx(same, abs=error + 1e-12)
            # Counting finds (K - 1)^2 / (2 N ln 2) bits too many on average.
            bias = (count - 1) ** 2 / (2 * MANY * np.log(2))
            slope = np.log2(same * (count - 1) / (1 - same)) if same < 1 else 0.0
            bits = measured_bits(source[:, column], target[:, column])
            assert bits == pytest.approx(information(keep, count) + bias * (keep < 1), abs=error * slope + 0.01)

    def test_no_rule_beats_the_bayes_accuracy_and_the_targets_shape_reaches_it(self) -> None:
        source, target, _ = factors(keep=0.6, seed=1)
        best = truth(DialOptions(keep=0.6))["bayes_accuracy"]
        votes = np.zeros((10, 10))
        np.add.at(votes, (target[: MANY // 2, 0], source[: MANY // 2, 0]), 1)
        learned = votes.argmax(axis=1)[target[MANY // 2 :, 0]]
        assert (learned == target[MANY // 2 :, 0]).all()
        assert float((learned == source[MANY // 2 :, 0]).mean()) == pytest.approx(best, abs=0.03)

    def test_factors_are_independent_of_each_other(self) -> None:
        source, target, _ = factors(keep=0.5)
        for first in range(5):
            for second in range(5):
                if first != second:
                    assert measured_bits(source[:, first], target[:, second]) < 0.02

    @pytest.mark.parametrize("count", [2, 3, 10])
    def test_the_ends_of_the_scale(self, count: int) -> None:
        assert information(1, count) == pytest.approx(np.log2(count))
        assert information(0, count) == pytest.approx(0, abs=1e-12)
        between = [information(keep, count) for keep in np.linspace(0, 1, 11)]
        assert between == sorted(between)

    def test_turning_the_dial_changes_only_what_it_must(self) -> None:
        before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        for keep in (0.0, 0.3, 0.7, 1.0):
            source, target, kept = factors(keep=keep)
            assert (source == target)[kept].all()
            if before is not None:
                assert (source == before[0]).all()
                assert kept[before[2]].all()
                assert (target == before[1])[~kept].all()
            before = (source, target, kept)
        assert kept.all()


class TestPictures:
    def test_every_shape_is_another_one_at_every_turn(self) -> None:
        drawn = {
            (shape, turn): np.asarray(
                draw_lines(Scene(shape, 0.5, 0.5, 0.24, turn / 8), 64, 0.0, np.random.default_rng(0)), dtype=float
            )
            for shape in SHAPES
            for turn in range(8)
        }
        for (shape, turn), picture in drawn.items():
            assert picture.min() < 100
            assert picture[0].min() == picture[-1].min() == 255  # nothing is cut off
            for (other, _), another in drawn.items():
                if other != shape:
                    assert np.abs(picture - another).mean() > 3, (shape, turn, other)

    def test_nuisance_is_no_part_of_the_source(self) -> None:
        scene = Scene("star", 0.5, 0.5, 0.2, 0.0)
        plain = draw_lines(scene, 48, 0.0, np.random.default_rng(5))
        assert plain.tobytes() == draw_lines(scene, 48, 0.0, np.random.default_rng(6)).tobytes()
        steps = [np.asarray(draw_lines(scene, 48, by, np.random.default_rng(5)), dtype=float) for by in (0.2, 0.5, 1)]
        changed = [float(np.abs(step - np.asarray(plain)).mean()) for step in steps]
        assert 0 < changed[0] < changed[1] < changed[2]
        coloured = draw_colour(scene, 48, np.random.default_rng(5))
        assert coloured.mode == "RGB"
        assert len(coloured.getcolors(48 * 48) or []) > 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dial") / "set"
    open_builtin("dial", folder, options={"pairs": 80, "side": 24})
    return folder


class TestSet:
    def test_two_workers_write_the_same_bytes(self, folder: Path, tmp_path: Path) -> None:
        open_builtin("dial", tmp_path / "two", options={"pairs": 80, "side": 24}, workers=2)
        assert content(tmp_path / "two") == content(folder)

    def test_goes_on_where_it_stopped(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = resumed(monkeypatch, "dial", tmp_path / "set", 50, options={"pairs": 80, "side": 24})
        assert len(first) == 50
        assert second == list(range(32, 80))
        assert content(tmp_path / "set") == content(folder)

    def test_another_seed_is_another_set(self, folder: Path, tmp_path: Path) -> None:
        open_builtin("dial", tmp_path / "set", options={"pairs": 80, "side": 24, "seed": 1})
        mine, other = content(folder), content(tmp_path / "set")
        assert mine.keys() == other.keys()
        assert all(mine[name] != other[name] for name in mine if name.endswith(".png"))

    def test_the_truth_beside_it_fits_its_rows(self, folder: Path) -> None:
        about = json.loads((folder / "truth.json").read_text())
        with (folder / "truth.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        pairs = open_pairs(str(folder / "manifest.csv"))
        assert len(rows) == len(pairs) == 80
        for pair, row in zip(pairs, rows, strict=True):
            assert pair.label == about["class_names"][int(row["source_shape"])]
            assert pair.source is not None
            assert pair.source.name == f"{row['item']}.png"
            for name in about["factors"]:
                assert row[f"kept_{name}"] == "0" or row[f"source_{name}"] == row[f"target_{name}"]
        assert set(Counter(pair.label for pair in pairs).values()) == {8}
        assert about["bayes_accuracy"] == pytest.approx(0.8 + 0.2 / 10)
        assert about["bits"] == pytest.approx(sum(each["bits"] for each in about["factors"].values()))

    def test_what_can_be_learned_from_pixels_falls_with_the_dial(self, tmp_path: Path) -> None:
        def score(**options: Any) -> float:
            """Held-out R2 of the source's place, from the target's pixels by ridge regression."""
            name = "-".join(f"{key}{value}" for key, value in options.items())
            pairs = open_builtin("dial", tmp_path / name, options={"pairs": 240, "side": 24, **options})
            pixels = np.array([np.asarray(Image.open(str(pair.target)), dtype=float).ravel() / 255 for pair in pairs])
            places = np.array([draw_factors(number, DialOptions(**options)).source[1:3] for number in range(240)])
            return float(Ridge(30.0).fit(pixels[:160], places[:160]).score(pixels[160:], places[160:]))

        by_keep = [score(keep=keep, nuisance=0.1) for keep in (1.0, 0.5, 0.0)]
        assert by_keep == sorted(by_keep, reverse=True)
        assert by_keep[0] > 0.7
        assert by_keep[-1] < 0.1
        assert by_keep[0] > score(keep=1.0, nuisance=0.9) + 0.1

    @pytest.mark.parametrize(
        ("options", "named"),
        [({"keep": 1.5}, "keep"), ({"nuisance": -0.1}, "nuisance"), ({"classes": 13}, "classes"),
         ({"pairs": 0}, "pairs"), ({"side": 4}, "side"), ({"kept": 0.5}, "did you mean 'keep'")],
    )  # fmt: skip
    def test_options_are_checked(self, tmp_path: Path, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            open_builtin("dial", tmp_path / "set", options=options)
        assert not (tmp_path / "set").exists()
