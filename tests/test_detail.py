"""Detail beside the teacher's pooled features: the definition, the common space, whole runs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import crossdistill
from crossdistill.bank import BankRows, open_bank
from crossdistill.bank.inspection import describe_bank, verify_bank
from crossdistill.deploy import export
from crossdistill.encoders import (
    DetailConfig,
    Encoder,
    StudentConfig,
    StudentDetailConfig,
    Teacher,
    TeacherConfig,
    build_student,
    build_teacher,
    calibrate,
    feature_maps,
    features_and_map,
    levels_of,
    load_encoder,
    plain_backbone,
    save_encoder,
    scaling,
    uncalibrated,
    with_detail,
    with_random_weights,
)
from crossdistill.errors import ConfigError, EncoderError, RunFolderError
from crossdistill.modalities.audio import Audio
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image
from crossdistill.modalities.timeseries import TimeSeries
from crossdistill.modalities.video import Video
from crossdistill.pipeline import run
from crossdistill.pipeline.commands import deterministic
from crossdistill.pipeline.config import make_config
from crossdistill.pipeline.folder import RunFolder
from crossdistill.pipeline.stages import open_teacher_space
from crossdistill.pipeline.work import begin
from crossdistill.training import TrainConfig
from crossdistill.training.optimiser import Freezer


def teacher_of(detail: DetailConfig | None, backbone: str = "test_resnet", size: int = 48) -> Encoder:
    torch.manual_seed(3)
    config = TeacherConfig(backbone=backbone, weights="random", detail=detail)
    return build_teacher(config, Image(size=size)).eval()


def by_hand(encoder: Encoder, items: Tensor, index: int, grid: int) -> Tensor:
    """Means of the cells of one map, summed up one by one; only for maps that the grid divides."""
    with torch.no_grad():
        found: Tensor = encoder.backbone.forward_intermediates(  # type: ignore[operator]
            encoder.modality.normalise(items), indices=[index], output_fmt="NCHW", intermediates_only=True
        )[0]
    side = found.shape[2] // grid
    assert side * grid == found.shape[2]
    cells = [
        found[:, channel, row * side : (row + 1) * side, column * side : (column + 1) * side].mean(dim=(1, 2))
        for channel in range(found.shape[1])
        for row in range(grid)
        for column in range(grid)
    ]
    return torch.stack(cells, dim=1)


@pytest.mark.parametrize(("backbone", "level", "index", "grid"),
                         [("test_resnet", -2, 3, 3), ("test_resnet", 2, 2, 2), ("test_vit", -1, None, 3)])  # fmt: skip
def test_the_grid_follows_the_pooled_features(backbone: str, level: int, index: int | None, grid: int) -> None:
    plain = teacher_of(None, backbone)
    teacher = teacher_of(DetailConfig(level=level, grid=grid, channels=256), backbone)
    items = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    found, pooled = Teacher(teacher).embed(items), Teacher(plain).embed(items)
    assert torch.equal(found[:, : plain.width], pooled)
    number = len(plain.backbone.feature_info) - 1 if index is None else index  # type: ignore[arg-type]
    torch.testing.assert_close(found[:, plain.width :], by_hand(plain, items, number, grid), rtol=1e-5, atol=1e-6)
    assert teacher.width == found.shape[1] == teacher.architecture.features


def test_many_channels_are_mixed_into_fewer_and_keep_their_angles() -> None:
    items = torch.randint(0, 256, (40, 3, 48, 48), dtype=torch.uint8) // torch.arange(1, 41)[:, None, None, None].byte()
    plain, whole, mixed = (teacher_of(each) for each in (None, DetailConfig(channels=192), DetailConfig()))
    assert whole.architecture.detail_channels is None, "as many as there are"
    assert mixed.architecture.detail_channels == 128
    own, found = (Teacher(each).embed(items)[:, plain.width :] for each in (whole, mixed))
    signs = mixed.backbone.mixing
    assert signs is not None
    assert signs.abs().unique().tolist() == pytest.approx([128**-0.5])
    by_cell = torch.einsum("kc,ncp->nkp", signs, own.view(40, 192, 9))  # type: ignore[arg-type]
    torch.testing.assert_close(found, by_cell.flatten(1), rtol=1e-4, atol=1e-5)
    one, other = (nn.functional.normalize(each - each.mean(dim=0)) for each in (own, found))
    assert float((one @ one.T - other @ other.T).abs().mean()) < 0.06
    assert torch.equal(signs, teacher_of(DetailConfig()).backbone.mixing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "modality",
    [Audio(seconds=0.5), TimeSeries(channels=(0, 1), length=64, representation="raw"), Video(size=32, frames=3)],
    ids=["audio", "timeseries", "video"],
)
def test_students_of_sounds_series_and_clips_have_detail_too(modality: Any) -> None:
    sample = torch.rand(4, *modality.shape)
    config = StudentConfig(backbone="test_resnet", detail=StudentDetailConfig(grid=2))
    student = build_student(config, modality, 16, sample).eval()
    assert student.architecture.features == 96 + 32 * 4
    items = torch.rand(2, *student.modality.shape)
    assert student(items).shape == (2, 16)


def test_where_a_thing_stands_is_told_by_detail_alone() -> None:
    """A picture and its mirror image: pooled features of a network that averages are nearly one, the grid is not."""
    teacher = teacher_of(DetailConfig(grid=3))
    items = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    items[..., 8:40, 4:16] = 255
    found = Teacher(teacher).embed(torch.cat([items, items.flip(-1)]))
    width = teacher.architecture.features - teacher.backbone.width  # type: ignore[operator]
    parts = found[:, :width].split(1), found[:, width:].split(1)
    cosine = [float(nn.functional.cosine_similarity(*part)) for part in parts]
    assert cosine[1] < cosine[0]


def test_a_bank_brought_into_the_space_is_what_the_teacher_embeds() -> None:
    teacher = teacher_of(DetailConfig())
    items = torch.randint(0, 256, (6, 3, 48, 48), dtype=torch.uint8)
    raw = Teacher(teacher).embed(items)
    mean = raw.mean(dim=0)
    factor = calibrate(teacher, mean, 0.25)
    assert factor is not None
    rows = BankRows(raw).centred(mean).scaled(factor)
    torch.testing.assert_close(rows[:], Teacher(teacher).embed(items), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rows.subset([4, 1])[:], rows[:][[4, 1]], rtol=0, atol=0)
    assert torch.equal(scaling(teacher), factor)  # type: ignore[arg-type]
    assert torch.equal(Teacher(uncalibrated(teacher)).embed(items), raw)
    with pytest.raises(ValueError, match="scaled already"):
        rows.scaled(factor)
    with pytest.raises(ValueError, match="centred or scaled already"):
        rows.centred(mean)
    plain = teacher_of(None)
    assert calibrate(plain, torch.ones(plain.width), 1.0) is None
    assert scaling(plain) is None


def test_lengths_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossdistill.bank.rows._CHUNK", 3)
    matrix = torch.randn(8, 5)
    found = BankRows(matrix).lengths([0, 2, 3, 5, 7], slice(1, 4))
    assert found == pytest.approx(float(matrix[[0, 2, 3, 5, 7], 1:4].norm(dim=1).mean()), rel=1e-6)


def test_it_is_saved_whole_and_is_another_teacher(tmp_path: Path) -> None:
    teacher = teacher_of(DetailConfig())
    calibrate(teacher, torch.randn(teacher.width), 0.3)
    save_encoder(tmp_path / "e", teacher, {})
    items = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    assert torch.equal(Teacher(load_encoder(tmp_path / "e")).embed(items), Teacher(teacher).embed(items))
    about = json.loads((tmp_path / "e" / "encoder.json").read_text())
    assert about["architecture"]["detail_level"] == 3
    several = (None, DetailConfig(), DetailConfig(grid=2), DetailConfig(level=-3), DetailConfig(channels=64))
    fingerprints = {Teacher(teacher_of(each)).fingerprint() for each in several}
    assert len(fingerprints) == 5
    same = {Teacher(teacher_of(DetailConfig(weight=weight))).fingerprint() for weight in (0.5, 1.0)}
    assert len(same) == 1, "the weight is none of the bank's"


@pytest.mark.parametrize(
    ("key", "value"), [("detail_grid", 17), ("detail_level", -1), ("detail_level", 99), ("detail_channels", 64)]
)
def test_a_description_that_cannot_be(tmp_path: Path, key: str, value: int) -> None:
    save_encoder(tmp_path, teacher_of(DetailConfig()), {})
    about = json.loads((tmp_path / "encoder.json").read_text())
    about["architecture"][key] = value
    (tmp_path / "encoder.json").write_text(json.dumps(about))
    with pytest.raises((RunFolderError, EncoderError)):
        load_encoder(tmp_path)


def test_a_student_of_the_teachers_weights_begins_in_its_space() -> None:
    teacher = teacher_of(DetailConfig())
    calibrate(teacher, torch.randn(teacher.width), 0.3)
    items = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    config = StudentConfig(weights="teacher", head="none")
    student = build_student(config, Image(), teacher.width, teacher=teacher).eval()
    assert torch.equal(Teacher(student).embed(items), Teacher(teacher).embed(items))
    plain = config.model_copy(update={"detail": None})
    with pytest.raises(EncoderError, match=r"another space(.|\n)*only one of them has this detail"):
        build_student(plain, Image(), teacher.width, teacher=teacher)
    headed = build_student(plain.model_copy(update={"head": "linear"}), Image(), teacher.width, teacher=teacher)
    assert headed.architecture.detail_level is None
    assert (headed.architecture.features, headed.width) == (96, teacher.width)
    given = teacher_of(None).backbone.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in headed.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("teacher", "modality", "match"),
    [
        ({"backbone": "test_resnet", "detail": {"level": 7}}, Image(size=48), r"no feature map(.|\n)*-5 to 4"),
        (
            {"backbone": "mlp", "detail": {}},
            Embedding(width=8),
            "Detail needs an encoder with feature maps",
        ),
        ({"backbone": "test_vit", "detail": {"grid": 16, "level": -1}}, Image(size=48), None),
        ({"backbone": "resnet50", "detail": {"grid": 16, "channels": 1024}}, Image(size=32), r"too wide(.|\n)*65,536"),
    ],
)
def test_what_does_not_fit_is_said(teacher: dict[str, Any], modality: Any, match: str | None) -> None:
    config = TeacherConfig.model_validate({"weights": "random", **teacher})
    if match is None:
        assert build_teacher(config, modality).width > 1000
        return
    with pytest.raises(ConfigError, match=match):
        build_teacher(config, modality)


def content(manifest: Path, out: Path, student: Any = None, **teacher: Any) -> dict[str, Any]:
    return {
        "pairs": {"manifest": str(manifest), "split": {"val": 0.2, "test": 0.3}},
        "source": {"modality": "image", "size": 48}, "target": {"modality": "image", "size": 32, "channels": 1},
        "teacher": {"backbone": "test_resnet", "weights": "random", **teacher},
        "student": {"backbone": "test_resnet", "detail": student}, "train": {"epochs": 2, "batch_size": 16},
        "evaluate": {"protocols": ["knn", "retrieval", "zero_shot"],
                     "controls": ["teacher_on_target", "teacher_on_source"]}, "out": str(out),
    }  # fmt: skip


DETAIL = {"level": -2, "grid": 2, "weight": 0.7}


def test_a_whole_run(manifest: Path, tmp_path: Path) -> None:
    found = load_encoder(run(make_config(content(manifest, tmp_path / "run", detail=DETAIL))).student)
    assert found.width == 96 + 128 * 4
    work = begin(make_config(content(manifest, tmp_path / "run", detail=DETAIL)))
    deterministic()
    space = open_teacher_space(work)
    train = [index for index, row in enumerate(space.rows) if work.pairs[row].split == "train"]
    rows = space.embeddings[train]
    lengths = [float(part.norm(dim=1).mean()) for part in (rows[:, :96], rows[:, 96:])]
    assert lengths[1] / lengths[0] == pytest.approx(0.7, rel=1e-4), "the weight is the share of the lengths"
    assert float(rows.mean(dim=0).abs().max()) < 1e-4, "around the mean of the training pairs"
    items = work.items(space.rows[:5], "source", space.teacher.modality)
    torch.testing.assert_close(space.teacher.embed(items.batch(range(5))), space.embeddings[:5], rtol=1e-3, atol=1e-4)
    kept = load_encoder(tmp_path / "run" / "teacher")
    assert Teacher(kept).embed(items.batch([0])).shape == (1, found.width)
    torch.testing.assert_close(kept.offset, space.teacher.encoder.offset)
    raw = open_bank(tmp_path / "run" / "bank").matrix
    assert raw.shape[1] == found.width
    assert not np.allclose(raw[:5], space.embeddings[:5])


def test_a_shared_bank_has_room_for_teachers_with_and_without(manifest: Path, tmp_path: Path) -> None:
    shared = {"bank": {"folder": str(tmp_path / "bank")}}
    for name, detail in (("plain", None), ("detail", DETAIL), ("heavier", {**DETAIL, "weight": 2.0})):
        work = begin(make_config({**content(manifest, tmp_path / name, detail=detail), **shared}))
        open_teacher_space(work)
    assert {each.name for each in (tmp_path / "bank").rglob("*.json")} == {
        "embeddings.json", "embeddings-detail-3-2-128.json",
    }  # fmt: skip
    assert len(describe_bank(tmp_path / "bank")) == len(verify_bank(tmp_path / "bank")) == 2


@pytest.fixture(scope="module")
def both(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose encoders both have detail; the student's grid does not divide its map."""
    about = content(manifest, tmp_path_factory.mktemp("both") / "run", {"level": 2, "grid": 3}, detail=DETAIL)
    about["dense"] = {"weight": 0.5, "cells": 2, "level": -2, "objective": {"name": "l2"}}
    about["evaluate"] |= {"protocols": ["retrieval", "fine_tune", "linear"], "controls": ["ssl_target"],
                          "fine_tune": {"epochs": 1}}  # fmt: skip
    return run(make_config(about))


def test_a_run_whose_student_has_detail_too(both: RunFolder) -> None:
    student = load_encoder(both.student)
    assert student.architecture.features == 96 + 32 * 9
    assert student.width == 96 + 128 * 4
    assert not float(student.backbone.scale) - 1  # type: ignore[arg-type]  # nothing calibrates a student
    found = json.loads(both.metrics.read_text())
    notes = [note for each in found["outcomes"] for note in each.get("notes", [])]
    assert not any("no layer-wise decay" in note for note in notes), "its layers are those of its network"
    assert "a feature map on 2" in both.report.read_text()


@pytest.mark.parametrize("side", ["target", "source"])
@pytest.mark.parametrize("form", ["onnx", "torch-export", "safetensors"])
def test_exports_of_both_agree_with_the_library(
    both: RunFolder, manifest: Path, side: str, form: str, tmp_path: Path
) -> None:
    files: list[Any] = sorted((manifest.parent / side).iterdir())[:3]
    done = export(both.root, tmp_path / "out", form, modality=side, items=files)
    assert done.parity.difference < 1e-4


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("on", r"where: +teacher\.detail\.auto(.|\n)*'auto'(.|\n)*'on'"),
        ({"levl": -1}, r"Unknown key(.|\n)*teacher\.detail\.levl(.|\n)*did you mean 'level'"),
        ({"grid": 0}, r"teacher\.detail\.grid(.|\n)*greater than or equal to 1"),
    ],
)
def test_a_wrong_section_is_told_by_its_key(value: Any, match: str, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match) as told:
        make_config(content(manifest, tmp_path, detail=value))
    assert "also wrong" not in str(told.value)


def test_layers_are_frozen_by_the_names_they_have_without_detail() -> None:
    student = build_student(StudentConfig(backbone="test_resnet", detail=StudentDetailConfig()), Image(size=48), 8)
    config = TrainConfig(epochs=1, freeze=("backbone.conv1.*",))
    Freezer(nn.ModuleDict({"student": student}), config)
    frozen = {name for name, value in student.named_parameters() if not value.requires_grad}
    assert frozen
    assert all(name.startswith("backbone.network.conv1.") for name in frozen)


def test_detail_of_a_network_that_was_given(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    encoder = Encoder.from_module(network, Image(size=48, mean=(0,) * 3, std=(1,) * 3, interpolation="bilinear"))
    assert with_detail(encoder, "auto") is encoder, "only who gave it can build it again"
    detailed = with_detail(encoder, StudentDetailConfig())
    save_encoder(tmp_path, detailed.eval(), {})
    again = load_encoder(tmp_path, module=timm.create_model("test_resnet", num_classes=0))
    items = torch.rand(2, 3, 48, 48)
    assert torch.equal(again(items), detailed(items))


@pytest.mark.parametrize(("size", "has"), [(32, False), (48, True)])
def test_by_default_where_there_are_as_many_places_as_cells(size: int, has: bool) -> None:
    config = TeacherConfig(backbone="test_resnet", weights="random")
    built = build_teacher(config, Image(size=size))
    assert built.architecture.detail_grid is None, "only a run can weigh it"
    teacher = with_detail(built, "auto")
    assert (teacher.architecture.detail_grid == 3) is has
    student = build_student(StudentConfig(backbone="test_resnet"), Image(size=64), teacher.width, teacher=teacher)
    assert (student.architecture.detail_grid == 3) is has, "a student follows its teacher"
    alone = build_student(StudentConfig(backbone="test_resnet"), Image(size=64), 8)
    assert alone.architecture.detail_grid is None
    vectors = build_teacher(TeacherConfig(backbone="mlp", weights="random"), Embedding(width=8))
    assert with_detail(vectors, "auto") is vectors


def test_timm_takes_the_network_of_a_published_student(both: RunFolder, tmp_path: Path) -> None:
    model = crossdistill.load(both.root, device="cpu")
    model.save_pretrained(tmp_path / "model", licence="mit")
    student = model.encoder("target")
    items = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()(items)
        assert torch.equal(theirs, student.features(items)[:, :96])
    after = crossdistill.from_pretrained(tmp_path / "model")
    assert torch.equal(after.encoder("target")(items), student(items))


def test_the_map_on_the_way_is_the_same_as_without(both: RunFolder) -> None:
    student = load_encoder(both.student)
    items = torch.rand(2, 1, 32, 32)
    for level in levels_of(student):
        features, found = features_and_map(student.backbone, items, level)
        assert torch.equal(features, student.features(items))
        assert torch.equal(found, feature_maps(plain_backbone(student), items, [level])[0])


def test_it_begins_again_as_it_was_or_with_other_weights(both: RunFolder, tmp_path: Path) -> None:
    config = StudentConfig(backbone=None, weights=str(both.root))
    again = build_student(config, Image(channels=1), 608)
    assert torch.equal(again(torch.ones(1, 1, 32, 32)), load_encoder(both.student)(torch.ones(1, 1, 32, 32)))
    fresh = with_random_weights(config)
    assert fresh.detail is not None
    assert (fresh.detail.level, fresh.detail.grid) == (2, 3)
    assert build_student(fresh, Image(size=32, channels=1, mean=(0.5,), std=(0.5,)), 608).architecture.features == 384
    with pytest.raises(ConfigError, match=r"This student ends in a space of its own(.|\n)*student.detail"):
        build_student(
            config.model_copy(update={"detail": StudentDetailConfig(level=1, grid=2)}), Image(channels=1), 608
        )


def test_a_copy_of_the_teacher_with_detail() -> None:
    teacher = teacher_of(None)
    config = StudentConfig(weights="teacher", detail=StudentDetailConfig())
    student = build_student(config, Image(), teacher.width, teacher=teacher)
    assert student.architecture.features == 96 + 32 * 9
    given, taken = teacher.backbone.state_dict(), plain_backbone(student).state_dict()
    assert all(torch.equal(value, given[name]) for name, value in taken.items())
