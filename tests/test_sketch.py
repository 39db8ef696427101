"""The sketch modality: strokes and SVG become drawings, whatever their unit; what is no drawing is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from crossdistill.errors import PairsError
from crossdistill.modalities import InputDefaults
from crossdistill.modalities.sketch import Sketch

DEFAULTS = InputDefaults(size=32, mean=(0.5,), std=(0.5,), interpolation="bilinear")
SKETCH = Sketch(size=32).resolve(DEFAULTS)
SQUARE = [[[0, 10, 10, 0, 0], [0, 0, 10, 10, 0]]]


def write(path: Path, drawing: object) -> Path:
    path.write_text(json.dumps({"word": "square", "drawing": drawing}) + "\n")
    return path


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
@pytest.mark.parametrize("factor", [0.01, 1, 1000])
def test_strokes_of_any_unit_fill_the_picture(tmp_path: Path, name: str, factor: float) -> None:
    drawing = (np.array(SQUARE) * factor + 7).tolist()
    decoded = SKETCH.decode(write(tmp_path / name, drawing)).numpy()[0]
    assert decoded.shape == (32, 32)
    dark = decoded < 128
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert (rows[0], rows[-1]) == (columns[0], columns[-1])
    assert rows[0] <= 2
    assert rows[-1] >= 29
    assert decoded[16, 16] == 255, "an outline is not filled"


def test_times_are_left_out_and_dots_are_drawn(tmp_path: Path) -> None:
    with_times = [[*stroke, list(range(5))] for stroke in SQUARE]
    first, second = (SKETCH.decode(write(tmp_path / "x.json", drawing)) for drawing in (SQUARE, with_times))
    assert first.equal(second)
    dot = Sketch(size=32, stroke=0.1).resolve(DEFAULTS).decode(write(tmp_path / "x.json", [[[3], [4]]]))
    assert int(dot.min()) < 128


def test_svg_and_pictures(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'
        '<path d="M1 1H9V9H1Z" fill="none" stroke="#000"/></svg>'
    )
    drawn = SKETCH.decode(tmp_path / "x.svg").numpy()[0]
    assert drawn[16, 16] == 255
    assert drawn[3:5].min() < 128
    Pillow.fromarray(drawn).save(tmp_path / "x.png")
    assert (SKETCH.decode(tmp_path / "x.png").numpy()[0] == drawn).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "", "cannot be read"), ("x.json", "[1, 2]", "cannot be read"), ("x.json", '{"word": 1}', "drawing"),
        ("x.json", '{"drawing": []}', "no strokes"), ("x.json", '{"drawing": [[[1, 2], [1]]]}', "cannot be read"),
        ("x.json", '{"drawing": [[[1, NaN], [1, 2]]]}', "no strokes"), ("x.svg", "hello", "cannot be read"),
        ("x.ndjson", '{"drawing": [[[1],[2]]]}\n{"drawing": [[[1],[2]]]}', "2 drawings in one file"),
        ("x.json", "[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_drawing_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PairsError, match=message):
        SKETCH.decode(tmp_path / name)
    with pytest.raises(PairsError, match="missing"):
        SKETCH.decode(tmp_path / f"no-{name}")


def test_an_svg_cannot_read_files(tmp_path: Path) -> None:
    Pillow.new("RGB", (10, 10), "black").save(tmp_path / "secret.png")
    (tmp_path / "x.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 10">'
        f'<image width="10" height="10" xlink:href="{tmp_path / "secret.png"}"/></svg>'
    )
    with pytest.raises(PairsError, match="outside of the file"):
        SKETCH.decode(tmp_path / "x.svg")
