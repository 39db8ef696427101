"""The program beside an export: it gives the library's vectors, or says that it does not take a file."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from tests.test_deploy import DEFAULTS, Small, embed, fakes, named, odd_pictures, small
from torch import Tensor

from crossdistill.deploy import export_encoder as export
from crossdistill.deploy import exporting
from crossdistill.deploy.entries import entry_for
from crossdistill.deploy.entry import Entry
from crossdistill.deploy.example import example_for
from crossdistill.deploy.network import Deployed
from crossdistill.deploy.parity import measure_parity
from crossdistill.deploy.runners import module_runner
from crossdistill.encoders import Encoder
from crossdistill.modalities import Modality, parse_modality, register, registry
from crossdistill.modalities.image import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Modality], Callable[[Path], NDArray[Any]]]:
    """The ``read`` of an export's example, without its graph."""

    def reader(modality: Modality) -> Callable[[Path], NDArray[Any]]:
        text = example_for(entry_for(modality), "onnx", "model.onnx")
        kept = re.sub(r"^session = .*$", "", text[: text.index("\nvectors = ")], flags=re.MULTILINE)
        (tmp_path / "example.py").write_text(kept)
        read = runpy.run_path(str(tmp_path / "example.py"))["read"]
        return lambda path: read(str(path))  # type: ignore[no-any-return]

    return reader


def resolved(section: dict[str, Any]) -> Modality:
    return parse_modality(section).resolve(DEFAULTS)


SERIES: dict[str, Any] = {"modality": "timeseries", "channels": ["acc-x", "gyr (z)"], "length": 32}


def write_table(path: Path, head: str | None, rows: NDArray[Any], separator: str = ",") -> Path:
    lines = [] if head is None else [head]
    lines += [separator.join(map(repr, map(float, row))) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def waves(count: int = 40, width: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(count, width)), axis=0)


def test_columns_of_any_name(read_by: Any, tmp_path: Path) -> None:
    modality = resolved(SERIES)
    files = [
        write_table(tmp_path / "a.csv", "gyr (z),acc-x,other", waves()),
        write_table(tmp_path / "b.csv", "\ufeffother; acc-x ;gyr (z)", waves(), ";"),
    ]
    np.save(tmp_path / "c.npy", waves(width=2))
    read = read_by(modality)
    for file in (*files, tmp_path / "c.npy"):
        expected = modality.decode(file)
        entry = entry_for(modality)
        np.testing.assert_allclose(entry(entry.batch([read(file)]))[0].numpy(), expected.float().numpy(), atol=2**-9)


def test_columns_by_number_with_and_without_names(read_by: Any, tmp_path: Path) -> None:
    modality = resolved({**SERIES, "channels": [2, 0]})
    read, entry = read_by(modality), entry_for(modality)
    files = [write_table(tmp_path / "a.csv", "x,y,z", waves()), write_table(tmp_path / "b.csv", None, waves())]
    np.save(tmp_path / "c.npy", waves())
    for file in (*files, tmp_path / "c.npy"):
        expected = modality.decode(file)
        np.testing.assert_allclose(entry(entry.batch([read(file)]))[0].numpy(), expected.float().numpy(), atol=2**-9)
    with pytest.raises(SystemExit, match="takes series of the channels"):
        read(write_table(tmp_path / "d.csv", None, waves(width=2)))


def test_a_missing_sample_stops_the_example(read_by: Any, tmp_path: Path) -> None:
    for channels, head in ((["x", "y"], "x,y"), ([0, 1], None)):
        modality = resolved({**SERIES, "channels": channels})
        for number, cell in enumerate(("", "nan", "NA", "-")):
            path = write_table(tmp_path / f"{number}.csv", head, waves(width=2))
            lines = path.read_text().splitlines()
            first = 0 if head is None else 1
            lines[first] = f"{cell},1.0"
            path.write_text("\n".join(lines))
            modality.decode(path)  # the library fills it
            with pytest.raises(SystemExit, match="a sample is missing"):
                read_by(modality)(path)


def test_series_with_times_come_onto_the_grid(read_by: Any, tmp_path: Path) -> None:
    modality = resolved({**SERIES, "channels": ["x", "y"], "time": "t", "rate": 50.0, "seconds_per_unit": 0.001})
    rng = np.random.default_rng(0)
    time = 1000 / 50 * (np.arange(60) + rng.uniform(-0.2, 0.2, 60))
    table = np.concatenate([time[:, None], waves(60, 2)], axis=1)
    file = write_table(tmp_path / "a.csv", "t,x,y", table)
    read, entry = read_by(modality), entry_for(modality)
    found, expected = entry(entry.batch([read(file)]))[0], modality.decode(file).float()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2**-9)
    table[30:, 0] += 200  # a pause
    with pytest.raises(SystemExit, match="without gaps"):
        read(write_table(tmp_path / "b.csv", "t,x,y", table))


def test_pictures_of_all_modes(read_by: Any, tmp_path: Path) -> None:
    odd_pictures(tmp_path)
    values = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    Pillow.fromarray(values).save(tmp_path / "sixteen.png")
    Pillow.fromarray(values.astype(np.int32)).save(tmp_path / "whole.tiff")
    Pillow.fromarray((values // 257).astype(np.uint8)).convert("CMYK").save(tmp_path / "print.tiff")
    Pillow.fromarray(values > 9000).save(tmp_path / "bilevel.png")
    np.save(tmp_path / "array.npy", (values // 257).astype(np.uint8)[:, :, None])
    modality = resolved({"modality": "image", "channels": 1})
    read = read_by(modality)
    files = [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".py"]
    assert len(files) == 9
    for path in files:
        np.testing.assert_array_equal(read(path), modality.read(path), err_msg=path.name)


def test_pictures_that_it_does_not_take(read_by: Any, tmp_path: Path) -> None:
    Pillow.fromarray(np.full((9, 9), 70000, np.int32)).save(tmp_path / "large.tiff")
    Pillow.fromarray(np.ones((9, 9), np.float32)).save(tmp_path / "float.tiff")
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "wide.npy", np.ones((9, 9), np.uint16))
    read = read_by(resolved({"modality": "image"}))
    for name, message in (("large.tiff", "outside of 0..65535"), ("float.tiff", "floating-point"),
                          ("text.png", "takes pictures that Pillow reads"), ("wide.npy", "8 bits"),
                          ("none.png", "No such file")):  # fmt: skip
        with pytest.raises(SystemExit, match=message) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)
    for name in ("a.svg", "b.NDJSON", "c.json"):
        (tmp_path / name).write_text("<svg/>")
        with pytest.raises(SystemExit, match="draw it as a picture of 512 pixels first"):
            read_by(resolved({"modality": "sketch"}))(tmp_path / name)


def test_rasters(read_by: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    depth = resolved({"modality": "depth", "invalid": [0, 65535]})
    stored = rng.integers(500, 9000, (20, 30)).astype(np.uint16)
    stored[3:5, 2:9], stored[0, 0] = 0, 65535
    Pillow.fromarray(stored).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", (stored / 1000).astype(np.float32)[:, :, None])
    for name in ("a.png", "b.npy"):
        np.testing.assert_allclose(read_by(depth)(tmp_path / name), depth.read(tmp_path / name), rtol=1e-6)
    for name, values, message in (
        ("eight.png", (stored // 256).astype(np.uint8), "more than 8 bits"),
        ("metres.tiff", stored.astype(np.float32), "is their unit another"),
    ):
        Pillow.fromarray(values).save(tmp_path / name)
        with pytest.raises(SystemExit, match=message):
            read_by(depth)(tmp_path / name)
    thermal = resolved({"modality": "thermal", "degrees_per_unit": 0.04, "degrees_offset": -273.15, "invalid": [0]})
    kelvin = (stored // 90 + 7300).astype(np.uint16)
    kelvin[3:5] = 0
    Pillow.fromarray(kelvin).save(tmp_path / "t.png")
    np.testing.assert_array_equal(read_by(thermal)(tmp_path / "t.png"), thermal.read(tmp_path / "t.png"))
    Pillow.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(tmp_path / "colours.png")
    with pytest.raises(SystemExit, match="colours"):
        read_by(thermal)(tmp_path / "colours.png")


def test_bands_of_tiff_files(read_by: Any, tmp_path: Path) -> None:
    modality = resolved({"modality": "multispectral", "bands": [3, 1], "no_data": [7]})
    bands = np.random.default_rng(0).integers(0, 50, (5, 12, 17)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack")
    np.save(tmp_path / "b.npy", np.moveaxis(bands, 0, -1))
    read = read_by(modality)
    for name in ("a.tif", "b.npy"):
        np.testing.assert_array_equal(read(tmp_path / name), modality.read(tmp_path / name))
    np.save(tmp_path / "c.npy", np.ones((9, 9, 3)))
    (tmp_path / "d.exr").write_bytes(b"")
    for name, message in (("c.npy", "at least 4 bands"), ("d.exr", "takes NPY and TIFF files")):
        with pytest.raises(SystemExit, match=message):
            read(tmp_path / name)


def test_sounds_of_another_rate_are_refused(read_by: Any, tmp_path: Path) -> None:
    import soundfile

    modality = resolved({"modality": "audio", "seconds": 0.5})
    samples = 0.2 * np.random.default_rng(0).normal(size=(9000, 2))
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    soundfile.write(tmp_path / "b.wav", samples, 22_050)
    np.testing.assert_array_equal(read_by(modality)(tmp_path / "a.wav"), modality.read(tmp_path / "a.wav"))
    with pytest.raises(SystemExit, match="resample it from 22050 to 16000 Hz first"):
        read_by(modality)(tmp_path / "b.wav")
    (tmp_path / "c.wav").write_text("no sound")
    with pytest.raises(SystemExit, match="takes sounds"):
        read_by(modality)(tmp_path / "c.wav")


def test_clips_and_vectors_are_arrays(read_by: Any, tmp_path: Path) -> None:
    clip, vector = resolved({"modality": "video", "frames": 3}), resolved({"modality": "embedding", "width": 5})
    np.save(tmp_path / "clip.npy", np.zeros((3, 9, 8, 3), np.uint8))
    np.save(tmp_path / "vector.npy", np.arange(5)[None])
    np.save(tmp_path / "other.npy", np.zeros((2, 9, 8, 3), np.uint8))
    assert read_by(clip)(tmp_path / "clip.npy").shape == (3, 9, 8, 3)
    assert read_by(vector)(tmp_path / "vector.npy").tolist() == [0, 1, 2, 3, 4]
    for modality in (clip, vector):
        for name in ("other.npy", "movie.mp4"):
            with pytest.raises(SystemExit, match="this takes"):
                read_by(modality)(tmp_path / name)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports whose graph is PyTorch's own module: tracing is what takes long, and tests/test_deploy.py does it."""
    made: dict[str, Any] = {}

    def graph(folder: Path, encoder: Encoder, entry: Entry, form: str, samples: Any, tolerance: float) -> Any:
        made["module"] = Deployed(entry, encoder)
        (folder / "model.pt2").touch()
        return "model.pt2", measure_parity(entry, module_runner(made["module"]), samples, tolerance)

    monkeypatch.setattr(exporting, "_graph", graph)
    monkeypatch.setattr(torch.export, "load", lambda path: SimpleNamespace(module=lambda: made["module"]))


class OfClips(Small):
    def forward(self, items: Tensor) -> Tensor:
        return super().forward(items.mean(dim=1))


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(
    "section",
    [{"modality": "sketch"}, {"modality": "video", "frames": 2}, {"modality": "audio", "seconds": 0.4},
     {"modality": "depth"}, {"modality": "thermal"}, {"modality": "multispectral", "bands": [1, 0]},
     {"modality": "timeseries", "channels": ["y", "x"], "length": 48},
     {"modality": "depth", "representation": "normals", "size": 16}],
    ids=named,
)  # fmt: skip
def test_examples_are_run_before_they_are_left(section: dict[str, Any], tmp_path: Path) -> None:
    modality = resolved(section)
    network = OfClips(3) if section["modality"] == "video" else Small(modality.shape[-3])
    done = export(
        Encoder.from_module(network, modality), tmp_path / "out", fakes(modality, tmp_path, 2), "torch-export"
    )
    tried = done.manifest["example"]
    assert tried["difference"] < 1e-4
    assert tried["item"].startswith("0.")
    assert json.loads((done.folder / "export.json").read_text())["example"] == tried


@pytest.mark.usefixtures("untraced")
def test_an_example_that_takes_none_of_the_items_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = {"drawing": [[[0, 9, 9], [0, 0, 9]]]}
    for number in range(2):
        (tmp_path / f"{number}.json").write_text(json.dumps(drawing))
    done = export(small({"modality": "sketch"}), tmp_path / "out", sorted(tmp_path.glob("*.json")), "torch-export")
    assert "draw it as a picture" in done.manifest["example"]["refused"]
    assert "takes none of the items" in capsys.readouterr().err
    Pillow.new("L", (20, 20), 200).save(tmp_path / "x.png")  # of items of several kinds it takes one
    files = [*sorted(tmp_path.glob("*.json")), tmp_path / "x.png"]
    done = export(small({"modality": "sketch"}), tmp_path / "more", files, "torch-export")
    assert done.manifest["example"]["item"] == "x.png"


@pytest.mark.usefixtures("untraced")
def test_an_example_that_does_something_else_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = small({"modality": "image", "channels": 1})
    paths = fakes(encoder.modality, tmp_path, 2)
    right, before = exporting.example_for, list(sys.argv)
    for text, other, message in (
        ("return np.array(", "return 255 - np.array(", "differs from"),
        ("import sys", "import sys, no_such_package", "ModuleNotFoundError"),
    ):  # fmt: skip
        monkeypatch.setattr(exporting, "example_for", lambda *each, pair=(text, other): right(*each).replace(*pair))
        done = export(encoder, tmp_path / message, paths, "torch-export")
        assert message in done.manifest["example"]["left_out"]
        assert "left out" in capsys.readouterr().err
        assert not (done.folder / "example.py").exists()
        assert "example.py" not in done.manifest["files"]
    assert sys.argv == before


class Inverted(Image):
    """Somebody's own: a kind of picture in 8 bits, by another name, that is normalised in its own way."""

    modality: Literal["inverted"] = "inverted"  # type: ignore[assignment]

    def normalise(self, batch: Tensor) -> Tensor:
        return super().normalise(255 - batch)


def test_a_modality_of_ones_own_as_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.setattr(registry, "_registered", {})
    register(Inverted)
    modality = Inverted(size=32, mean=(0.4,) * 3, std=(0.3,) * 3, interpolation="bilinear")
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=0)
    encoder = Encoder.from_module(module, modality).eval()
    encoder.architecture = type(encoder.architecture)(**{**encoder.architecture.to_json(), "backbone": "test_resnet"})
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number}.png")
        Image.write_fake(paths[-1], number, number, rich=True)
    done = export(encoder, tmp_path / "out", paths, "safetensors")
    text = (done.folder / "example.py").read_text()
    assert "the package of the modality inverted" in text
    assert "/ 255" not in text
    assert done.manifest["example"]["difference"] < 1e-5
    np.save(tmp_path / "item.npy", modality.decode(paths[0]).numpy())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["example.py", str(tmp_path / "item.npy"), str(tmp_path / "item.npy")])
        found = runpy.run_path(str(done.folder / "example.py"))["vectors"]
    np.testing.assert_allclose(found[:1], embed(encoder, paths[0]), atol=1e-5)


def test_the_weights_example_refuses_what_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    modality = resolved({"modality": "image", "channels": 1})
    module = timm.create_model("test_resnet", num_classes=0, in_chans=1)
    encoder = Encoder.from_module(module, modality).eval()
    encoder.architecture = type(encoder.architecture)(**{**encoder.architecture.to_json(), "backbone": "test_resnet"})
    done = export(encoder, tmp_path / "out", fakes(modality, tmp_path, 2), "safetensors")
    assert done.manifest["example"]["difference"] < 1e-5
    np.save(tmp_path / "float.npy", modality.decode(tmp_path / "0.png").numpy() / 255)
    monkeypatch.setattr(sys, "argv", ["example.py", str(tmp_path / "float.npy")])
    with pytest.raises(SystemExit, match="of 8 bits, not float"):
        runpy.run_path(str(done.folder / "example.py"))


def test_the_ten_lines_of_the_page_read_as_the_library_does(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    block = page.partition("## Ten lines of ONNX")[2].partition("```python\n")[2].partition("```")[0]
    source = block[: block.index("session = ")]
    names: dict[str, Any] = {}
    exec(source, names)
    odd_pictures(tmp_path)
    Pillow.fromarray(np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)).save(tmp_path / "sixteen.png")
    modality = resolved({"modality": "image"})
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(names["read"](path), modality.read(path), err_msg=path.name)
