"""The embedding modality and the backbones for vectors: files, preprocessing, and runs without any network."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import crossdistill
from crossdistill.encoders import (
    Encoder,
    StudentConfig,
    TeacherConfig,
    build_student,
    build_teacher,
    load_encoder,
    save_encoder,
)
from crossdistill.encoders.vector_backbone import build_vector_backbone
from crossdistill.errors import ConfigError, EncoderError, PairsError
from crossdistill.files import read_json
from crossdistill.modalities import parse_modality
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image
from crossdistill.pipeline import run

VECTOR = np.linspace(-1, 2, 8, dtype=np.float32)


def embedding(**options: object) -> Embedding:
    return Embedding.model_validate({"width": 8, **options})


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [("x.json", json.dumps(VECTOR.tolist())), ("x.json", json.dumps([VECTOR.tolist()])),
         ("x.csv", ",".join(map(str, VECTOR))), ("x.csv", ";".join(map(str, VECTOR)) + "\r\n"),
         ("x.txt", "\n " + "\t".join(map(str, VECTOR)))],
    )  # fmt: skip
    def test_texts(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        assert torch.equal(embedding().decode(tmp_path / name), torch.from_numpy(VECTOR))

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
    @pytest.mark.parametrize("shape", [(8,), (1, 8)])
    def test_arrays(self, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        values = (VECTOR * 4).round().astype(dtype).reshape(shape)
        np.save(tmp_path / "x.npy", values)
        found = embedding().decode(tmp_path / "x.npy")
        assert found.dtype == torch.float32
        assert torch.equal(found, torch.from_numpy((VECTOR * 4).round()))
        assert torch.equal(embedding().from_array(values), found)
        assert torch.equal(embedding().from_array(values.ravel().tolist()), found)

    @pytest.mark.parametrize("name", ["x.npy", "x.json", "x.csv"])
    @pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nonsense", "binary", "folder"])
    def test_damaged_files_give_one_message_that_names_them(self, tmp_path: Path, name: str, damage: str) -> None:
        path = tmp_path / name
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            np.save(path, VECTOR) if name == "x.npy" else path.write_text(json.dumps(VECTOR.tolist()).strip("]["))
            content = path.read_bytes()
            path.write_bytes(
                {"empty": b"", "truncated": content[: len(content) // 2], "nonsense": b"nonsense " * 50,
                 "binary": b"\xff\xfe\x00" * 99}[damage]
            )  # fmt: skip
        with pytest.raises(PairsError, match=rf"x\{path.suffix}"):
            embedding().decode(path)

    @pytest.mark.parametrize(
        "content", ['{"a": 1}', "[[1, 2], [3, 4]]", "[true, false]", '["1", "2"]', "[" * 100_000, "[1, NaN]",
                    "[1e999, 1]", "[]", "null", "[1, null]"],
    )  # fmt: skip
    def test_json_that_is_no_vector_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(PairsError, match=r"x\.json"):
            embedding(width=2).decode(tmp_path / "x.json")

    @pytest.mark.parametrize(
        ("values", "message"),
        [(np.ones(9), "8 values(.|\n)*9 values"), (np.ones((2, 8)), "no vector"), (np.ones((2, 4)), "no vector"),
         (np.array([1, np.nan] * 4), "4 of 8"), (np.full(8, 1e300), "8 of 8"), (np.ones(8, complex), "no vector"),
         (np.ones(8, bool), "no vector"), (np.array(1.0), "no vector")],
    )  # fmt: skip
    def test_arrays_that_are_no_such_vector_are_refused(self, tmp_path: Path, values: Any, message: str) -> None:
        np.save(tmp_path / "x.npy", values)
        with pytest.raises(PairsError, match=rf"x\.npy(.|\n)*{message}|{message}(.|\n)*x\.npy"):
            embedding().decode(tmp_path / "x.npy")
        with pytest.raises(PairsError, match=message):
            embedding().from_array(values)

    def test_a_header_that_claims_too_much_allocates_nothing_and_no_code_is_unpickled(self, tmp_path: Path) -> None:
        with (tmp_path / "x.npy").open("wb") as stream:
            header = {"descr": "<f8", "fortran_order": False, "shape": (1_000_000_000,)}
            np.lib.format.write_array_header_1_0(stream, header)
        with pytest.raises(PairsError, match="the most"):
            embedding().decode(tmp_path / "x.npy")
        np.save(tmp_path / "x.npy", np.array([{}] * 8), allow_pickle=True)
        with pytest.raises(PairsError, match="objects"):
            embedding().decode(tmp_path / "x.npy")
        with (tmp_path / "x.json").open("wb") as stream:
            stream.truncate(1 << 30)
        with pytest.raises(PairsError, match="the most"):
            embedding().decode(tmp_path / "x.json")

    @pytest.mark.parametrize(
        "settings", [{}, {"width": 1}, {"width": 8, "normalise": "l2"}, {"width": 2, "mean": [0, 0]},
                     {"width": 2, "normalise": "standardise", "mean": [0]},
                     {"width": 2, "normalise": "standardise", "std": [0, 1]}],
    )  # fmt: skip
    def test_settings_are_checked(self, settings: dict[str, object]) -> None:
        with pytest.raises(ConfigError, match=r"width|normalise|mean|std"):
            parse_modality({"modality": "embedding", **settings}, "target")


class TestPreprocessing:
    @pytest.fixture
    def items(self) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.randn(50, 8) * torch.logspace(-3, 3, 8) + 5

    def test_none_and_unit(self, items: torch.Tensor) -> None:
        assert torch.equal(embedding().normalise(items), items)
        assert torch.equal(embedding().with_statistics(items).normalise(items), items)
        unit = embedding(normalise="unit").normalise(items)
        torch.testing.assert_close(unit.norm(dim=1), torch.ones(50))
        assert torch.equal(embedding().from_array([0.0] * 8), torch.zeros(8))
        with pytest.raises(PairsError, match="no direction"):
            embedding(normalise="unit").from_array([0.0] * 8)

    def test_standardise_takes_the_statistics_of_the_training_items(self, items: torch.Tensor) -> None:
        items[:, 3] = 2.5  # a value that never changes
        modality = embedding(normalise="standardise").with_statistics(items)
        standard = modality.normalise(items)
        torch.testing.assert_close(standard.mean(dim=0), torch.zeros(8), rtol=0, atol=2e-2)
        expected = torch.tensor([1.0, 1, 1, 0, 1, 1, 1, 1])
        torch.testing.assert_close(standard.std(dim=0, correction=0), expected, rtol=0, atol=2e-2)
        assert parse_modality(modality.model_dump(mode="json", by_alias=True)) == modality
        assert embedding(normalise="standardise").resolve(modality.as_defaults()) == modality
        single = embedding(normalise="standardise").with_statistics(items[:1])
        assert torch.isfinite(single.normalise(items)).all()

    def test_augments_each_vector_in_its_own_way(self, items: torch.Tensor) -> None:
        same = items[:1].repeat(400, 1)
        torch.manual_seed(0)
        changed = embedding().augment(same)
        assert not torch.equal(changed[0], changed[1])
        torch.manual_seed(0)
        assert torch.equal(embedding().augment(same), changed)
        assert torch.equal(embedding(augment={"noise": 0, "dropout": 0}).augment(same), same)
        dropped = embedding(augment={"noise": 0, "dropout": 0.25}).augment(same)
        assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
        torch.testing.assert_close(dropped.mean(dim=0), same[0], rtol=0.15, atol=0)
        noisy = embedding(augment={"noise": 0.1, "dropout": 0}).augment(same) - same
        size = float(same[0].square().mean().sqrt())
        assert float(noisy.std()) == pytest.approx(0.1 * size, rel=0.05)
        assert not torch.equal(embedding().contrastive().augment(same), changed)
        assert embedding().geometry is None

    @pytest.mark.parametrize("width", [2, 10, 768, 5000])
    def test_draws_itself(self, tmp_path: Path, width: int) -> None:
        values = np.random.default_rng(0).normal(size=width)
        np.save(tmp_path / "x.npy", values)
        picture = Embedding(width=width).picture(tmp_path / "x.npy", 96)
        assert picture.size == (96, 96)
        assert len(picture.getcolors(10_000) or []) > 20
        assert Embedding(width=width).draw(torch.zeros(width), 64).size == (64, 64)


class TestBackbones:
    def test_identity_passes_vectors_on_with_or_without_a_word_about_weights(self, tmp_path: Path) -> None:
        for config in (
            TeacherConfig(backbone="identity"), TeacherConfig(backbone="identity", weights="none"),
            TeacherConfig(backbone="identity", weights="random"),
        ):  # fmt: skip
            teacher = build_teacher(config, embedding())
            assert teacher.origin == "a backbone without weights"
            values = torch.randn(3, 8)
            assert torch.equal(teacher(values), values)
        teacher.offset += 1
        save_encoder(tmp_path, teacher, {})
        assert torch.equal(load_encoder(tmp_path)(values), values - 1)
        with pytest.raises(EncoderError, match="neither a known name"):
            build_teacher(TeacherConfig(backbone="identity", weights="nowhere.safetensors"), embedding())
        save_file({"x": torch.ones(1)}, tmp_path / "w.safetensors")
        with pytest.raises(EncoderError, match="do not fit"):
            build_teacher(TeacherConfig(backbone="identity", weights=str(tmp_path / "w.safetensors")), embedding())

    @pytest.mark.parametrize(("name", "width", "layers"), [("mlp", 512, 2), ("mlp_32x1", 32, 1), ("mlp_7x5", 7, 5)])
    def test_mlp_has_its_width_and_layers_and_comes_back(
        self, tmp_path: Path, name: str, width: int, layers: int
    ) -> None:
        student = build_student(StudentConfig(backbone=name), embedding(), 5).eval()
        assert student.architecture.features == width
        assert sum(isinstance(module, nn.Linear) for module in student.backbone.modules()) == layers
        save_encoder(tmp_path / "student", student, {})
        values = torch.randn(3, 8)
        assert torch.equal(load_encoder(tmp_path / "student")(values), student(values))
        further = build_student(StudentConfig(backbone=None, weights=str(tmp_path)), embedding(), 5).eval()
        assert torch.equal(further(values), student(values))
        with pytest.raises(EncoderError, match="number of channels"):
            build_student(StudentConfig(backbone=None, weights=str(tmp_path)), embedding(width=9), 5)

    def test_mlp_takes_a_file_of_weights(self, tmp_path: Path) -> None:
        state = build_vector_backbone("mlp_16x2", 8).state_dict()
        save_file(state, tmp_path / "w.safetensors")
        teacher = build_teacher(
            TeacherConfig(backbone="mlp_16x2", weights=str(tmp_path / "w.safetensors")), embedding()
        )
        assert all(torch.equal(teacher.backbone.state_dict()[name], state[name]) for name in state)
        with pytest.raises(EncoderError, match="no published weights"):
            build_teacher(TeacherConfig(backbone="mlp"), embedding())

    def test_kinds_of_input_are_not_mixed_up(self, tmp_path: Path) -> None:
        with pytest.raises(EncoderError, match=r"backbone for vectors(.|\n)*for pictures(.|\n)*backbone: mlp"):
            build_student(StudentConfig(backbone="resnet18"), embedding(), 5)
        for name in ("identity", "mlp"):
            with pytest.raises(EncoderError, match=r"for pictures \(any timm name\)"):
                build_student(StudentConfig(backbone=name), Image(size=32), 5)
        with pytest.raises(EncoderError, match="did you mean 'identity'"):
            build_student(StudentConfig(backbone="identiti"), embedding(), 5)
        with pytest.raises(EncoderError, match="cannot be built"):
            build_student(StudentConfig(backbone="mlp_99999999x1"), embedding(), 5)
        save_encoder(tmp_path / "student", build_student(StudentConfig(backbone="test_resnet"), Image(size=32), 5), {})
        with pytest.raises(EncoderError):
            build_student(StudentConfig(backbone=None, weights=str(tmp_path)), embedding(), 5)

    def test_a_teacher_without_statistics_is_refused_at_once(self) -> None:
        with pytest.raises(ConfigError, match="not known"):
            build_teacher(TeacherConfig(backbone="identity"), embedding(normalise="standardise"))
        known = embedding(normalise="standardise", mean=[1.0] * 8, std=[2.0] * 8)
        assert build_teacher(TeacherConfig(backbone="identity"), known).modality == known

    def test_a_module_of_ones_own(self) -> None:
        encoder = Encoder.from_module(nn.Linear(8, 3), embedding())
        assert encoder(torch.randn(2, 8)).shape == (2, 3)
        with pytest.raises(EncoderError, match=r"width = \(8,\)"):
            Encoder.from_module(nn.Linear(9, 3), embedding())


def write_pairs(folder: Path, widths: dict[str, int]) -> Path:
    """Vectors of two models that know the same things: one latent vector, seen through two random maps."""
    rng = np.random.default_rng(0)
    centres, rows = rng.normal(size=(4, 6)), []
    maps = {side: rng.normal(size=(6, width)) for side, width in widths.items()}
    for label in range(4):
        for variant in range(20):
            latent = centres[label] + 0.5 * rng.normal(size=6)
            for side, mixing in maps.items():
                (folder / side).mkdir(parents=True, exist_ok=True)
                np.save(folder / side / f"{label}-{variant}.npy", (latent @ mixing).astype(np.float32))
            rows.append([f"source/{label}-{variant}.npy", f"target/{label}-{variant}.npy", str(label)])
    with (folder / "pairs.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["source", "target", "label"], *rows])
    return folder / "pairs.csv"


@pytest.mark.parametrize(("source", "target"), [(12, 9), (8, 8)])
def test_one_models_vectors_teach_a_student_of_anothers(tmp_path: Path, source: int, target: int) -> None:
    folder = run(
        {
            "pairs": str(write_pairs(tmp_path, {"source": source, "target": target})),
            "source": {"modality": "embedding", "width": source},
            "target": {"modality": "embedding", "width": target, "normalise": "standardise"},
            "teacher": {"backbone": "identity", "weights": "none"},
            "student": {"backbone": "mlp_64x2"},
            "train": {"epochs": 40, "batch_size": 16, "lr": 3e-3},
            "evaluate": {
                "shots": [2],
                "draws": 2,
                "controls": ["random_student", "teacher_on_target", "teacher_on_source", "supervised"],
                "fine_tune": {"epochs": 1},
                "supervised": {"epochs": 1},
            },
            "out": str(tmp_path / "run"),
        }
    )
    metrics = read_json(folder.metrics)
    outcomes = {outcome["name"]: outcome["metrics"] for outcome in metrics["outcomes"]}
    recall = {
        name: found["target_to_source_r@1"]["value"] for name, found in outcomes.items() if found.get("zero_shot")
    }
    assert recall["cmcd"] > recall["random_student"] + 0.3
    assert ("teacher_on_target" in outcomes) == (source == target)
    if source != target:
        assert "another width" in metrics["left_out"]["teacher_on_target"]
    model = crossdistill.load(folder.root)
    item = tmp_path / "source" / "0-0.npy"
    expected = torch.from_numpy(np.load(item)) - load_encoder(folder.teacher).offset
    np.testing.assert_allclose(
        model.embed([item], modality="source")[0], nn.functional.normalize(expected, dim=0).numpy(), atol=1e-5
    )
    assert model.embed([np.zeros(target, np.float32)], modality="target").shape == (1, source)


def test_vectors_can_be_pretrained_on(tmp_path: Path) -> None:
    folder = run(
        {
            "pairs": str(write_pairs(tmp_path, {"source": 12, "target": 9})),
            "source": {"modality": "embedding", "width": 12, "normalise": "unit"},
            "target": {"modality": "embedding", "width": 9},
            "pretrain": {"backbone": "mlp_32x1", "epochs": 1, "batch_size": 16},
            "teacher": {"weights": "pretrain"},
            "student": {"backbone": "identity", "head": "mlp"},
            "train": {"epochs": 1, "batch_size": 16},
            "evaluate": {"protocols": ["retrieval"], "controls": ["random_student", "initial_student"]},
            "out": str(tmp_path / "run"),
        }
    )
    assert load_encoder(folder.teacher).architecture.backbone == "mlp_32x1"
    assert load_encoder(folder.student).architecture.backbone == "identity"
