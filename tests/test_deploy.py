"""Exports: equal to PyTorch on real items, usable without it, refused where they are not."""

from __future__ import annotations

import copy
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from torch import Tensor, nn

from crossdistill import errors
from crossdistill.cli.app import main
from crossdistill.deploy import OPSET, Exported, export, export_encoder, graph, quantised
from crossdistill.deploy.entries import entry_for
from crossdistill.deploy.network import Deployed
from crossdistill.deploy.new_folder import new_folder
from crossdistill.deploy.parity import measure_parity, samples_of
from crossdistill.deploy.quantised import loss_of
from crossdistill.deploy.raster_entry import filled
from crossdistill.deploy.resize import resize_pixels
from crossdistill.deploy.runners import module_runner
from crossdistill.encoders import Encoder
from crossdistill.evaluation import EvaluateConfig, EvaluationSet, RowVectors, Subject, measure
from crossdistill.modalities import InputDefaults, Modality, modality_class, parse_modality
from crossdistill.modalities.geometry import border_colours
from crossdistill.modalities.square import square
from crossdistill.pipeline import CrossModalModel, load, run
from crossdistill.pipeline.folder import RunFolder
from crossdistill.pipeline.own_pairs import own_pairs

DEFAULTS = InputDefaults(size=32, mean=(0.5, 0.45, 0.4), std=(0.25, 0.2, 0.3), interpolation="bilinear")


class Small(nn.Module):
    """A network of no size, for exports whose entry is what matters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, stride=4, padding=1)
        self.last = nn.Linear(8, 6)

    def forward(self, items: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(items)).mean(dim=(2, 3)))
        return found


def small(section: dict[str, Any]) -> Encoder:
    modality = parse_modality(section).resolve(DEFAULTS)
    torch.manual_seed(0)
    return Encoder.from_module(Small(modality.shape[-3]), modality).eval()


def call(*arguments: object) -> int:
    """Runs the command in this process; returns its exit code."""
    sys.argv = ["crossdistill", *map(str, arguments)]
    with pytest.raises(SystemExit) as caught:
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A quick run whose student takes grey pictures that are padded."""
    return run(
        {
            "pairs": str(manifest),
            "source": {"size": 32},
            "target": {"size": 24, "channels": 1, "fit": "pad"},
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": "test_resnet"},
            "train": {"epochs": 1, "batch_size": 16},
            "evaluate": {"protocols": ["retrieval", "knn", "zero_shot"], "controls": []},
            "out": str(tmp_path_factory.mktemp("deploy") / "run"),
        }
    )


@pytest.fixture(scope="module")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Its student as ONNX, also in 8 bits."""
    return export(finished.root, tmp_path_factory.mktemp("deploy") / "onnx", int8=True)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_pictures_are_resized_to_the_last_bit(fit: Any, interpolation: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (17, 31), (1, 1), (7, 200), (90, 3), *(tuple(rng.integers(2, 150, 2)) for _ in range(8))]
    for side in (16, 33):
        for height, width in sizes:
            picture = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
            fill = border_colours(picture[None])
            expected = square(picture, side, fit, interpolation, fill[0].tolist() if fit == "pad" else 0.0)
            found = resize_pixels(picture[None].float(), side, fit, interpolation, fill)[0]
            assert torch.equal(found, expected.float()), (height, width, side)


def test_missing_pixels_are_filled_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((12, 12)) < share for share in (0.02, 0.05, 0.2, 0.5, 0.9) for _ in range(6)]
    masks += [np.eye(12, dtype=bool), np.indices((12, 12)).sum(axis=0) % 4 == 0]  # many that are equally near
    masks = [mask for mask in masks if mask.any()]
    values = torch.arange(2 * 144.0).view(1, 2, 12, 12).expand(len(masks), -1, -1, -1)
    found = filled(values, torch.from_numpy(np.stack(masks)))
    for mask, each in zip(masks, found, strict=True):
        rows, columns = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
        np.testing.assert_array_equal(each.numpy(), values[0].numpy()[:, rows, columns])
    assert filled(values[:1], torch.zeros(1, 12, 12, dtype=torch.bool)).isnan().all()


SECTIONS: list[dict[str, Any]] = [
    {"modality": "image", "channels": 1, "fit": "pad"},
    {"modality": "image", "channels": 3, "interpolation": "bicubic"},
    {"modality": "image", "channels": 3, "fit": "squash", "interpolation": "lanczos"},
    {"modality": "sketch"},
    {"modality": "video", "frames": 3},
    {"modality": "audio", "seconds": 0.5},
    {"modality": "audio", "seconds": 0.3, "longer": "start", "setting": "whisper"},
    {"modality": "audio", "seconds": 1.7, "shorter": "repeat", "setting": "vggish"},
    {"modality": "audio", "seconds": 0.75, "setting": "panns"},
    {"modality": "audio", "seconds": 0.9, "setting": "coarse"},
    {"modality": "depth"},
    {"modality": "depth", "encoding": "log", "fit": "pad"},
    {"modality": "depth", "encoding": "linear", "per_image": True},
    {"modality": "thermal"},
    {"modality": "thermal", "degrees_per_unit": 0.04, "degrees_offset": -273.15, "low": 10, "high": 60},
    {"modality": "multispectral", "bands": [2, 0]},
    {"modality": "multispectral", "bands": [3, 1], "low": [200, 100], "high": [1800, 1900], "fit": "pad"},
    {"modality": "timeseries", "channels": ["x", "y"], "length": 64},
    {"modality": "timeseries", "channels": ["y", "x"], "length": 40, "longer": "start"},
    {"modality": "timeseries", "channels": ["x", "y"], "length": 100, "scale": "fixed", "low": -2, "high": [2, 3]},
    {"modality": "timeseries", "channels": ["x"], "length": 90, "shorter": "repeat", "representation": "raw"},
    {"modality": "embedding", "width": 16, "normalise": "unit"},
]


def named(section: dict[str, Any]) -> str:
    return "-".join(map(str, section.values()))


def fakes(modality: Modality, folder: Path, count: int = 4) -> list[Path]:
    paths = [folder / f"{number}{_SUFFIX.get(modality.modality, '.png')}" for number in range(count)]
    for number, path in enumerate(paths):
        modality_class(modality.modality).write_fake(path, number % 3, number, rich=False)
    return paths


_SUFFIX = {"audio": ".wav", "video": ".mp4", "multispectral": ".npy", "timeseries": ".csv", "embedding": ".npy"}


@pytest.mark.parametrize("section", SECTIONS, ids=named)
def test_graphs_prepare_items_as_the_modality_does(section: dict[str, Any], tmp_path: Path) -> None:
    modality = parse_modality(section).resolve(DEFAULTS)
    paths = fakes(modality, tmp_path)
    entry = entry_for(modality)
    assert type(entry).__name__ != "DecodedEntry"
    found = torch.cat([entry(entry.batch([entry.array(path)])) for path in paths])
    together = entry(entry.batch([entry.array(path) for path in paths]))
    expected = torch.stack([modality.decode(path) for path in paths]).float()
    assert found.shape == expected.shape
    if modality.modality in ("image", "sketch", "video", "embedding"):
        assert torch.equal(found, expected)
        assert torch.equal(together, expected)
    else:
        # Values are kept in 16 bits, so a last bit of float32 may show as a last bit of these, most often where a tone
        # leaves cells 80 dB below it.
        assert (found - expected).abs().max() <= 2**-10
        assert ((found - expected).abs() > 1e-6).float().mean() < 0.03
        torch.testing.assert_close(together, found, atol=2**-10, rtol=0)


def test_what_cannot_be_in_a_graph_is_said(tmp_path: Path) -> None:
    modality = parse_modality({"modality": "depth", "representation": "normals", "size": 16}).resolve(DEFAULTS)
    entry = entry_for(modality)
    assert entry.shape == ["batch", 3, 16, 16]
    assert "normals" in entry.outside[0]
    (path,) = fakes(modality, tmp_path, 1)
    assert torch.equal(entry(entry.batch([entry.array(path)]))[0], modality.decode(path).float())
    with pytest.raises(errors.ConfigError, match="cannot be put into a graph"):
        entry_for(modality, "read")


def test_silence_and_rasters_without_values(tmp_path: Path) -> None:
    silent = entry_for(parse_modality({"modality": "audio", "seconds": 0.5}).resolve(DEFAULTS))
    assert not silent(torch.zeros(2, 300)).any()
    depth = entry_for(parse_modality({"modality": "depth"}).resolve(DEFAULTS))
    values = torch.ones(2, 20, 30, 1)
    values[0] = torch.nan
    found = depth(values)
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


def session_of(folder: Path, name: str = "model.onnx") -> Any:
    return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])


def targets(manifest: Path) -> list[Path]:
    return sorted((manifest.parent / "target").iterdir())


def test_onnx_agrees_with_the_library_for_any_batch_and_size(
    exported: Exported, finished: RunFolder, manifest: Path
) -> None:
    model, session = load(finished.root, device="cpu"), session_of(exported.folder)
    rng = np.random.default_rng(0)
    for count, height, width in ((1, 24, 24), (2, 31, 80), (7, 100, 9)):
        pictures = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        (found,) = session.run(None, {"pixels": pictures})
        np.testing.assert_allclose(found, model.embed(list(pictures)), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert exported.parity.difference < 1e-6
    assert exported.parity.shapes == 4  # the run's own pictures have one size
    assert {1, 3} <= set(exported.parity.batches)


def test_the_manifest_tells_what_another_program_needs(exported: Exported, finished: RunFolder) -> None:
    import onnx

    content = json.loads((exported.folder / "export.json").read_text())
    assert content == exported.manifest
    assert content["input"]["shape"] == ["batch", "height", "width", 3]
    session = session_of(exported.folder)
    assert session.get_inputs()[0].shape == content["input"]["shape"]
    assert session.get_outputs()[0].shape == content["output"]["shape"]
    content_of = onnx.load(exported.folder / "model.onnx")
    assert [each.version for each in content_of.opset_import if each.domain == ""] == [OPSET] == [content["opset"]]
    assert str(finished.root.parent).encode() not in (exported.folder / "model.onnx").read_bytes()
    assert b"site-packages" not in (exported.folder / "model.onnx").read_bytes()  # no folders of this machine
    assert any("255" in step for step in content["inside"])
    assert any("EXIF" in step for step in content["outside"])
    assert set(content["files"]) == {path.name for path in exported.folder.iterdir()} - {"export.json"}


def test_int8_is_smaller_and_its_loss_is_measured(exported: Exported, finished: RunFolder) -> None:
    found = exported.manifest["int8"]
    assert found["bytes"]["int8"] < 0.5 * found["bytes"]["fp32"]
    metrics = json.loads(finished.metrics.read_text())["outcomes"][0]["metrics"]
    for name, value in found["results"]["fp32"].items():  # measured in the way of the run itself
        assert value["value"] == pytest.approx(metrics[name]["value"], abs=1e-3), name
    assert {"knn", "zero_shot", "target_to_source_r@1", "target_to_source_r@5"} <= set(found["results"]["int8"])
    assert 0 < found["difference"] < 0.2
    assert set(found["milliseconds"]["int8"]) == {"1", "32"}
    kinds = [node.op_type for node in _nodes(exported.folder / "model.int8.onnx")]
    assert "ConvInteger" in kinds
    assert kinds.count("MatMul") == 2  # resizing stays exact


def test_int8_is_measured_as_the_run_itself_measures(finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(finished.root, device="cpu")
    encoder, other = model.encoder("target"), model.encoder("source")
    entry, pairs = entry_for(encoder.modality), own_pairs(finished)
    monkeypatch.setattr(quantised, "_MOST", 12)
    vectors = {str(pair.target): embed(encoder, pair.target) for pair in quantised._some(pairs)}
    runs = {"fp32": module_runner(Deployed(entry, encoder))}

    def measured(**evaluate: Any) -> dict[str, Any]:
        return loss_of(runs, entry, "target", pairs, other, EvaluateConfig.model_validate(evaluate))

    found = {k: measured(protocols=["knn"], neighbours=k) for k in (1, 12)}
    for each in found.values():
        assert "knn" in each["results"]["fp32"], each["left_out"]
        assert all(name.startswith("knn") for name in each["results"]["fp32"])  # the run's own protocols alone
    some = quantised._some(pairs)
    embedded = np.concatenate([vectors[str(pair.target)] for pair in some])
    own = RowVectors(np.arange(len(some)), embedded, embedded)
    subject = Subject(name="run", role="objective", description="", side="target", shared=False, vectors=own)
    data = EvaluationSet(some, np.arange(len(some)))
    for k, each in found.items():
        config = EvaluateConfig(protocols=["knn"], neighbours=k)
        expected = measure(subject, data, None, config, seed=0).metrics["knn"]
        assert each["results"]["fp32"]["knn"]["value"] == pytest.approx(expected.value, abs=1e-5)
    values = {k: each["results"]["fp32"]["knn"]["value"] for k, each in found.items()}
    assert values[1] != values[12]

    left_out = measured(protocols=["knn", "linear", "retrieval"], representation="features")
    assert set(left_out["left_out"]) == {"knn", "linear"}
    assert "features" in left_out["left_out"]["knn"]
    assert "target_to_source_r@1" in left_out["results"]["fp32"]
    assert left_out["rows"] == {"train": 12, "test": min(12, len(pairs.where("test")))}
    assert left_out["of"] == {split: len(pairs.where(split)) for split in ("train", "test")}


def test_int8_whose_values_are_not_finite_is_refused(finished: RunFolder) -> None:
    model = load(finished.root, device="cpu")
    entry = entry_for(model.encoder("target").modality)
    right = module_runner(Deployed(entry, model.encoder("target")))
    with pytest.raises(errors.EncoderError, match=r"int8.*not finite"):
        loss_of(
            {"int8": lambda batch: right(batch) * np.float32(np.nan)}, entry, "target", own_pairs(finished),
            model.encoder("source"), EvaluateConfig(),
        )  # fmt: skip


def _nodes(path: Path) -> Any:
    import onnx

    return onnx.load(path).graph.node


_WITHOUT = """
import runpy, sys
for name in ("torch", "torchvision", "timm", "crossdistill"):
    sys.modules[name] = None  # import fails
example, out, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = example
found = runpy.run_path(example, run_name="__main__")
import numpy
numpy.save(out, found["vectors"])
"""


def run_example(python: str, folder: Path, files: list[Path], out: Path) -> NDArray[np.float32]:
    """Runs an export's example on files where neither PyTorch nor crossdistill can be imported; its vectors."""
    done = subprocess.run(
        [python, "-c", _WITHOUT, folder / "example.py", out, *files], capture_output=True, text=True, cwd=out.parent
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == min(10, len(files) - 1)
    vectors: NDArray[np.float32] = np.load(out)
    return vectors


def run_example_here(folder: Path, files: list[Path]) -> NDArray[np.float32]:
    """The same with PyTorch in this process, where crossdistill cannot be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "crossdistill", None)
        patch.setattr(sys, "argv", ["example.py", *map(str, files)])
        vectors: NDArray[np.float32] = runpy.run_path(str(folder / "example.py"))["vectors"]
    return vectors


def odd_pictures(folder: Path) -> list[Path]:
    """Pictures of other modes and sizes: transparent, grey, of a palette, turned by EXIF."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (40, 56, 4), dtype=np.uint8)
    Pillow.fromarray(values).save(folder / "transparent.png")
    Pillow.fromarray(values[:, :, 0]).save(folder / "grey.png")
    Pillow.fromarray(values[:, :, :3]).quantize(16).save(folder / "palette.png")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(values[:, :, :3]).save(folder / "turned.jpg", exif=exif)
    return sorted(folder.iterdir())


def test_the_example_runs_without_pytorch(
    exported: Exported, finished: RunFolder, manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "odd").mkdir()
    files = [*targets(manifest)[:3], *odd_pictures(tmp_path / "odd")]
    found = run_example(sys.executable, exported.folder, files, tmp_path / "found.npy")
    np.testing.assert_allclose(found, load(finished.root, device="cpu").embed(files), atol=1e-5)


@pytest.mark.parametrize(
    "section",
    [
        {"modality": "audio", "seconds": 0.6},
        {"modality": "depth", "encoding": "log"},
    ],
    ids=named,
)
def test_other_modalities_as_onnx(section: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = section["modality"] == "audio"  # as if its weights were too large for one file
    if beside:
        monkeypatch.setattr(graph, "_EXTERNAL_ABOVE", 0)
    encoder = small(section).train()
    paths = fakes(encoder.modality, tmp_path, count=5)
    done = export_encoder(encoder, tmp_path / "out", paths)
    assert done.parity.difference < 1e-5
    assert (done.folder / "model.onnx.data").is_file() is beside
    assert done.files[0].name == "model.onnx"
    assert encoder.training  # what was exported is a copy
    assert all(weights.requires_grad for weights in encoder.parameters())
    found = run_example(sys.executable, done.folder, paths, tmp_path / "found.npy")
    expected = np.concatenate([embed(encoder, path) for path in paths])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def embed(encoder: Encoder, path: Path) -> NDArray[np.float32]:
    with torch.no_grad():
        found = encoder(encoder.modality.normalise(encoder.modality.decode(path)[None]))
    unit: NDArray[np.float32] = torch.nn.functional.normalize(found).numpy()
    return unit


def test_torch_export(finished: RunFolder, manifest: Path, tmp_path: Path) -> None:
    files: list[Path] = sorted((manifest.parent / "source").iterdir())[:4]
    done = export(finished.root, tmp_path / "out", "torch-export", modality="source", items=files)
    assert done.parity.difference < 1e-5
    found = run_example_here(done.folder, files)
    np.testing.assert_allclose(found, load(finished.root, device="cpu").embed(files, "source"), atol=1e-5)


def test_safetensors_for_timm(finished: RunFolder, manifest: Path, tmp_path: Path) -> None:
    done = export(finished.root, tmp_path / "out", "safetensors")
    assert {path.name for path in done.files} >= {"model.safetensors", "backbone.safetensors", "head.safetensors"}
    model = load(finished.root, device="cpu")
    files = []
    for number, path in enumerate(targets(manifest)[:3]):
        files.append(tmp_path / f"{number}.npy")
        np.save(files[-1], model.encoder("target").modality.decode(path).numpy(), allow_pickle=False)
    found = run_example_here(done.folder, files)
    np.testing.assert_allclose(found, model.embed(targets(manifest)[:3]), atol=1e-5)


def test_an_export_that_does_not_agree_is_refused(
    finished: RunFolder, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossdistill.deploy import exporting as module

    whole = module.from_parts

    def damaged(folder: Path, encoder: Encoder) -> Encoder:
        built = whole(folder, encoder)
        built.offset += 0.01
        return built

    monkeypatch.setattr(module, "from_parts", damaged)
    with pytest.raises(errors.EncoderError, match="does not agree with PyTorch") as caught:
        export(finished.root, tmp_path / "out", "safetensors")
    assert str(manifest.parent / "target") in caught.value.details["where"]
    assert "0.0001" in caught.value.details["expected"]
    assert not list(tmp_path.iterdir())  # nothing is left, not even in part
    assert export(finished.root, tmp_path / "out", "safetensors", tolerance=0.5).parity.difference > 1e-4


@pytest.mark.parametrize("part", [0, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_export_that_gives_no_numbers_is_refused(value: float, part: int, tmp_path: Path) -> None:
    """Also where the first item alone gives them: nothing is larger than NaN, and nothing smaller."""
    encoder = small({"modality": "image", "channels": 1})
    samples = samples_of(encoder, entry_for(encoder.modality), fakes(encoder.modality, tmp_path))
    right = module_runner(Deployed(entry_for(encoder.modality), encoder))

    def wrong(batch: Tensor) -> NDArray[np.float32]:
        found = right(batch).copy()
        found[np.array([same(each, samples[part].array) for each in batch])] = value
        return found

    def same(one: Tensor, other: NDArray[Any]) -> bool:
        return np.array_equal(one.numpy(), other)

    entry = entry_for(encoder.modality)
    assert measure_parity(entry, right, samples, 1e-4).difference < 1e-4
    for tolerance in (1e-4, 2.0):
        with pytest.raises(errors.EncoderError, match="gives values that are not finite") as caught:
            measure_parity(entry, wrong, samples, tolerance)
        assert caught.value.details["where"] == samples[part].name
    broken = copy.deepcopy(encoder)
    broken.offset += value
    with pytest.raises(errors.EncoderError, match="not finite"):
        export_encoder(broken, tmp_path / "out", fakes(encoder.modality, tmp_path), "safetensors")
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_folder_is_exported_with_items_of_ones_own(tmp_path: Path) -> None:
    encoder = small({"modality": "image", "channels": 1})
    model = CrossModalModel(RunFolder(Path("a model at hand")), {"target": encoder}, torch.device("cpu"))
    paths = fakes(encoder.modality, tmp_path)
    done = export(model, tmp_path / "out", "safetensors", items=paths)
    assert done.parity.items == len(paths)
    assert "run" not in done.manifest
    assert json.loads((done.folder / "encoder.json").read_text())["provenance"].keys() == {"origin", "weights_hash"}
    with pytest.raises(errors.RunFolderError, match="no pairs of its own") as caught:
        export(model, tmp_path / "more", "safetensors")
    assert "--items" in caught.value.details["fix"]


@pytest.mark.parametrize("tolerance", ["inf", "nan", "-1", "0"])
def test_a_tolerance_has_to_be_one(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], tolerance: str
) -> None:
    arguments = ["--format", "safetensors", "--out", tmp_path / "out", f"--tolerance={tolerance}"]
    assert call("export", finished.root, *arguments) == 2
    assert "tolerance" in capsys.readouterr().err
    with pytest.raises(errors.ConfigError, match="tolerance"):
        export_encoder(small({"modality": "image"}), tmp_path / "out", [], tolerance=float(tolerance))
    assert not list(tmp_path.iterdir())


def ended() -> int:
    """The number of a process that lives no longer."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_killed_exports_are_removed(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as work:
        pattern = re.fullmatch(rf"\.out\.([0-9a-f]{{8}})-{os.getpid()}\.(\w+)\.part", work.name)
        assert pattern is not None
        host = pattern[1]
        names = {
            f".out.{host}-{ended()}.abc.part": False,
            f".out.{host}-{os.getppid()}.abc.part": True,  # whose process is at work
            f".out.00000000-{ended()}.abc.part": True,  # of another machine
            f".out.more.{host}-{ended()}.abc.part": True,  # of another export
            ".out.abc.part": True,  # nobody knows whose
        }
        for name in names:
            (tmp_path / name).mkdir()
            (tmp_path / name / "model.onnx").touch()
        with new_folder(tmp_path / "out") as other:  # at the same time
            (other / "it").touch()
        assert work.is_dir()
        (tmp_path / "out" / "it").unlink()
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert not work.exists()


class Branching(nn.Module):
    """Decides by the values, which no graph can."""

    def forward(self, items: Tensor) -> Tensor:
        return items.flatten(1) if float(items.mean()) > 0 else -items.flatten(1)


def test_modules_that_cannot_be_exported(tmp_path: Path) -> None:
    modality = parse_modality({"modality": "image", "size": 8}).resolve(DEFAULTS)
    paths = fakes(modality, tmp_path / "items", 2)
    with pytest.raises(errors.EncoderError, match="cannot be exported in this format") as caught:
        export_encoder(Encoder.from_module(Branching(), modality), tmp_path / "out", paths, "torch-export")
    assert "safetensors" in caught.value.details["fix"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--format", "tflite"], 2, "Unknown format"),
        (["--format", "safetensors", "--int8"], 2, "Only graphs of ONNX are quantised"),
        (["--format", "onnx", "--modality", "both"], 2, "Unknown modality"),
        (["--format", "onnx", "--input", "file"], 2, "Unknown input"),
        (["--format", "onnx", "--items", "none.png"], 3, "An input is missing"),
        (["--format", "onnx", "--out", "."], 6, "holds something else"),
    ],
)
def test_wrong_commands(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    (tmp_path / "there").write_text("something")
    monkeypatch.chdir(tmp_path)
    assert call("export", finished.root, "--out", "out", *arguments) == code
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def manifest_of(folder: RunFolder) -> Path:
    """A copy of a run's manifest, which its configuration names from now on."""
    content = yaml.safe_load(folder.config.read_text())
    own = folder.root / "moved.csv"
    shutil.copy(content["pairs"]["manifest"], own)
    content["pairs"]["manifest"] = str(own)
    folder.config.write_text(yaml.safe_dump(content))
    return own


def test_wrong_runs(finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, twin.root)
    shutil.rmtree(twin.teacher)
    with pytest.raises(errors.RunFolderError, match="keeps no copy of its teacher"):
        export(twin.root, tmp_path / "out", modality="source")
    weights = twin.student / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(errors.RunFolderError, match="weights have been changed"):
        export(twin.root, tmp_path / "out")
    shutil.rmtree(twin.student)
    with pytest.raises(errors.RunFolderError, match="no student yet"):
        export(twin.root, tmp_path / "out")
    manifest_of(twin).unlink()
    shutil.copytree(finished.student, twin.student)
    with pytest.raises(errors.PairsError, match="own pairs cannot be read") as missing:
        export(twin.root, tmp_path / "out", "safetensors")
    assert "--items" in missing.value.details["fix"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(errors.MissingDependencyError, match="needs the package onnxruntime") as caught:
        export(finished.root, tmp_path / "out")
    assert "crossdistill[onnx]" in caught.value.details["fix"]


def test_the_command_says_what_it_wrote(
    finished: RunFolder, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--format", "torch-export", "--input", "decoded", "--items", targets(manifest)[0]]
    assert call("export", finished.root, "--out", out, *arguments) == 0
    printed = capsys.readouterr()
    assert "input decoded: uint8 (batch, 1, 24, 24)" in printed.out
    assert re.search(r"export\.json: [1-9][\d.]* KB", printed.out)
    assert "agrees with PyTorch on 1 item of 1 shape in batches of 1, 3" in printed.out
    assert printed.out.splitlines()[-1] == f"export: {out}"
    assert "Traceback" not in printed.err


@pytest.mark.slow
def test_the_example_runs_in_an_environment_of_its_own(
    exported: Exported, finished: RunFolder, manifest: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "numpy", "pillow"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    (tmp_path / "odd").mkdir()
    files = [*targets(manifest), *odd_pictures(tmp_path / "odd")]
    found = run_example(python, exported.folder, files, tmp_path / "found.npy")
    np.testing.assert_allclose(found, load(finished.root, device="cpu").embed(files), atol=1e-5)
