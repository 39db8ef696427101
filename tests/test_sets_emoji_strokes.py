"""The set `emoji-strokes`: the pen goes along the lines that are drawn, and nowhere else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from building import content, module_of, resumed
from crossdistill.errors import ConfigError
from crossdistill.modalities import parse_modality
from crossdistill.pairs.builtin import builtin_set, open_builtin
from crossdistill.pairs.builtin.emoji_strokes import CANVAS, strokes, trace
from crossdistill.pairs.making.unicode_emoji import OBJECT_GROUPS, untoned_emoji

EVERY = untoned_emoji(OBJECT_GROUPS)
FEW = [emoji for emoji in EVERY if emoji.subgroup in ("animal-mammal", "food-fruit")][:36]
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72"><g id="color"><rect width="9" height="9"/></g>{}</svg>'
)


def drawn(shapes: str) -> list[np.ndarray]:
    return strokes(ET.fromstring(SVG.format(f'<g id="line">{shapes}</g>')))


class TestTrace:
    def test_a_line_is_sampled_evenly_from_end_to_end(self) -> None:
        found = trace(drawn('<line x1="0" y1="36" x2="72" y2="36"/>'), spacing=2)
        np.testing.assert_allclose(found[:, 0], np.linspace(-1, 1, 37), atol=1e-6)
        np.testing.assert_allclose(found[:, 1:], np.tile([0, 1], (37, 1)), atol=1e-6)

    def test_between_strokes_the_pen_is_lifted_and_faster(self) -> None:
        found = trace(drawn('<path d="M0 0h36 M0 36h36"/>'), spacing=1)  # one path of two strokes
        down = found[:, 2] == 1
        assert down.sum() == 2 * 37
        air = found[~down]
        assert len(air) == round(np.hypot(36, 36) / 4) - 1
        np.testing.assert_allclose(air[:, 0], -1 - air[:, 1], atol=1e-5)  # straight from (0, -1) to (-1, 0)

    def test_a_circle_is_round_and_a_dot_is_one_sample(self) -> None:
        (ring,) = drawn('<circle cx="36" cy="36" r="18"/>')
        np.testing.assert_allclose(np.abs(ring - (36 + 36j)), 18, atol=1e-3)
        assert len(trace([ring], 1.0)) == pytest.approx(2 * np.pi * 18, abs=2)
        assert len(trace([np.array([3 + 3j, 3 + 3j])], 1.0)) == 1

    def test_groups_move_their_shapes_and_colours_are_no_lines(self) -> None:
        (line,) = drawn('<g transform="translate(10 20)"><line x1="0" y1="0" x2="1" y2="0"/></g>')
        assert (line[0], line[-1]) == (10 + 20j, 11 + 20j)
        assert drawn("") == []


class TestSet:
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module_of("emoji-strokes"), "untoned_emoji", lambda categories: FEW)

    def test_the_pen_draws_the_picture(self, tmp_path: Path) -> None:
        """Where the pen touches, the picture is black: what is drawn from the series lies on the picture's lines."""
        pairs = open_builtin("emoji-strokes", tmp_path / "set")
        assert len(pairs) > 30
        assert {"animal-mammal"} <= set(pairs.classes)
        on_lines = []
        for pair in pairs:
            with Image.open(str(pair.source)) as opened:
                dark = np.asarray(opened.convert("L")) < 100
            series = np.load(str(pair.target))
            assert series.dtype == np.float32
            assert series.shape[1] == 3
            assert set(np.unique(series[:, 2])) <= {0.0, 1.0}
            board = Image.new("L", (96, 96))
            points = (series[series[:, 2] == 1, :2] + 1) * 48
            ImageDraw.Draw(board).point([tuple(map(float, point)) for point in points], fill=255)
            on_lines.append(dark[np.asarray(board) > 0].mean())
        assert np.mean(on_lines) > 0.9

    def test_its_own_modality_reads_it(self, tmp_path: Path) -> None:
        pairs = open_builtin("emoji-strokes", tmp_path / "set")
        modality = parse_modality(builtin_set("emoji-strokes").target)
        item = modality.decode(pairs[0].target)
        assert tuple(item.shape) == (3, 1, 448)
        assert float(item.abs().max()) <= 1.0

    def test_workers_and_interruptions_change_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        open_builtin("emoji-strokes", tmp_path / "one")
        open_builtin("emoji-strokes", tmp_path / "two", workers=2)
        assert content(tmp_path / "two") == content(tmp_path / "one")
        first, second = resumed(monkeypatch, "emoji-strokes", tmp_path / "stopped", 34)
        assert (len(first), len(second)) == (34, len(FEW) - 32)
        assert content(tmp_path / "stopped") == content(tmp_path / "one")

    def test_spacing_makes_it_finer(self, tmp_path: Path) -> None:
        fine = open_builtin("emoji-strokes", tmp_path / "fine", options={"spacing": 0.5})
        usual = open_builtin("emoji-strokes", tmp_path / "usual")
        lengths = [len(np.load(str(pairs[0].target))) for pairs in (fine, usual)]
        assert lengths[0] == pytest.approx(2.5 * lengths[1], rel=0.1)
        with pytest.raises(ConfigError, match="spacing"):
            open_builtin("emoji-strokes", tmp_path / "none", options={"spacing": 0})
        assert CANVAS == 72
