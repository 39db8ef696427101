"""Transformers as students: small items, patches of their own size, from a configuration to an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_patch_embed

from crossdistill import load
from crossdistill.deploy import export
from crossdistill.encoders import (
    StudentConfig,
    TeacherConfig,
    build_student,
    build_teacher,
    load_encoder,
    save_encoder,
    with_random_weights,
)
from crossdistill.errors import EncoderError
from crossdistill.hub.timm_form import write_timm_form
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image
from crossdistill.pairs import open_pairs
from crossdistill.pipeline import RunFolder, run


def student_of(size: int, **section: Any) -> Any:
    config = StudentConfig.model_validate({"backbone": "test_vit", **section})
    return build_student(config, Image(size=size, channels=1, mean=(0.5,), std=(0.5,)), 7)


@pytest.mark.parametrize(("size", "patch_size", "tokens"), [(64, None, 16), (96, None, 36), (64, 8, 64)])
def test_a_real_one_at_small_sizes(size: int, patch_size: int | None, tokens: int) -> None:
    student = student_of(size, backbone="vit_tiny_patch16_224", patch_size=patch_size).train()
    assert student.backbone.patch_embed.num_patches == tokens
    student(torch.randn(2, 1, size, size)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_patches_are_saved_and_what_has_none_says_so(tmp_path: Path) -> None:
    student = student_of(32, patch_size=8).eval()
    save_encoder(tmp_path / "student", student, {})
    assert json.loads((tmp_path / "student/encoder.json").read_text())["architecture"]["patch_size"] == 8
    again = load_encoder(tmp_path / "student")
    items = torch.randn(2, 1, 32, 32)
    assert torch.equal(again(items), student(items))
    assert "patch_size" not in student_of(32).architecture.to_json()
    further = student_of(32, backbone=None, weights=str(tmp_path), patch_size=8)
    assert torch.equal(further.eval()(items), student(items))
    redrawn = with_random_weights(StudentConfig(backbone=None, weights=str(tmp_path)))
    assert (redrawn.backbone, redrawn.patch_size) == ("test_vit", 8)
    with pytest.raises(EncoderError, match=r"other patches(.|\n)*leave student.patch_size out"):
        student_of(32, backbone=None, weights=str(tmp_path), patch_size=4)
    with pytest.raises(EncoderError, match=r"cannot be built(.|\n)*patch_size"):
        student_of(32, backbone="test_resnet", patch_size=8)
    with pytest.raises(EncoderError, match="no patches"):
        build_student(StudentConfig(backbone="mlp", patch_size=8), Embedding(width=5), 7)


def test_a_teachers_weights_are_resampled_for_other_patches() -> None:
    torch.manual_seed(1)
    teacher = build_teacher(TeacherConfig(backbone="test_vit", weights="random", detail=None), Image(size=64))
    config = StudentConfig.model_validate({"weights": "teacher", "head": "none", "patch_size": 8})
    student = build_student(config, Image(size=32), teacher.width, teacher=teacher)
    expected = resample_patch_embed(teacher.backbone.patch_embed.proj.weight, [8, 8])
    assert torch.equal(student.backbone.patch_embed.proj.weight, expected)
    assert student.architecture.patch_size == 8
    assert torch.isfinite(student.eval()(torch.randn(2, 3, 32, 32))).all()


def test_timm_reads_it_back(tmp_path: Path) -> None:
    student = student_of(32, patch_size=8).eval()
    assert write_timm_form(tmp_path, student)
    items = torch.randn(2, 1, 32, 32)
    assert torch.equal(
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()(items), student.backbone(items)
    )


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(
        {
            "pairs": str(manifest),
            "source": {"modality": "image", "size": 32},
            "target": {"modality": "image", "size": 32, "channels": 1},
            "teacher": {"backbone": "test_resnet", "weights": "random"},
            "student": {"backbone": "test_vit", "patch_size": 8},
            "train": {"epochs": 10, "batch_size": 16, "lr": 1e-3, "clip_norm": 1.0, "warmup": 0.2, "layer_decay": 0.9},
            "evaluate": {"protocols": ["retrieval"], "controls": ["random_student"]},
            "trackers": [],
            "out": str(tmp_path_factory.mktemp("vit") / "run"),
        }
    )


def test_a_run_from_a_configuration(finished: RunFolder) -> None:
    metrics = json.loads(finished.metrics.read_text())
    curve = metrics["curves"]["distil/cmcd"]
    assert curve[-1]["loss"] < 0.9 * curve[0]["loss"]
    assert (metrics["student"]["backbone"], metrics["student"]["patch_size"]) == ("test_vit", 8)


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=pytest.mark.slow), "safetensors"])
def test_is_exported(finished: RunFolder, manifest: Path, tmp_path: Path, form: str) -> None:
    done = export(finished.root, tmp_path / "out", form)
    assert done.parity.difference < 1e-4
    files = [pair.target for pair in open_pairs(str(manifest))][:3]
    embedded = load(finished.root).embed(files)
    assert np.allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
