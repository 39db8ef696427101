"""Students with their teacher's weights: the same function where all agrees, adapted or refused elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from crossdistill.encoders import (
    Encoder,
    StudentConfig,
    TeacherConfig,
    build_student,
    build_teacher,
    load_encoder,
    resolve_modality,
    save_encoder,
)
from crossdistill.errors import ConfigError, EncoderError
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image
from crossdistill.pipeline import run

FROM_TEACHER = {"weights": "teacher", "head": "none"}


def teacher_of(backbone: str = "test_resnet", **image: Any) -> Encoder:
    torch.manual_seed(3)
    encoder = build_teacher(
        TeacherConfig(backbone=backbone, weights="random", detail=None), Image(**{"size": 32, **image})
    )
    encoder.offset.normal_()
    for module in encoder.modules():  # running statistics that are none of a fresh network's
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.uniform_(-0.2, 0.2)
    return encoder.eval()


def student_of(teacher: Encoder, modality: Any = None, **section: Any) -> Encoder:
    config = StudentConfig.model_validate({**FROM_TEACHER, **section})
    return build_student(config, modality or Image(), teacher.width, teacher=teacher).eval()


def test_where_all_agrees_it_is_the_teacher_itself() -> None:
    teacher = teacher_of()
    student = student_of(teacher)
    items = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    assert student.modality.model_dump() == teacher.modality.model_dump()
    with torch.no_grad():
        assert torch.equal(student(student.modality.normalise(items)), teacher(teacher.modality.normalise(items)))
    assert all(parameter.requires_grad for parameter in student.parameters())
    shared = {value.data_ptr() for value in teacher.state_dict().values()}
    assert not shared & {value.data_ptr() for value in student.state_dict().values()}, "a copy, not the teacher"


def test_one_channel_is_as_three_equal_ones() -> None:
    """The sum over the channels is exactly what grey as three channels gives, where all are normalised alike."""
    teacher = teacher_of(mean=(0.4,) * 3, std=(0.2,) * 3)
    student = student_of(teacher, Image(channels=1))
    grey = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        ours = student(student.modality.normalise(grey))
        theirs = teacher(teacher.modality.normalise(grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_three_equal_channels_are_as_one() -> None:
    teacher = teacher_of(channels=1, mean=(0.4,), std=(0.2,))
    student = student_of(teacher, Image(channels=3))
    grey = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        ours = student(student.modality.normalise(grey.expand(-1, 3, -1, -1)))
        theirs = teacher(teacher.modality.normalise(grey))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_transformer_gets_its_positions_for_another_size() -> None:
    teacher = teacher_of("test_vit", size=64)
    student = student_of(teacher, Image(size=48, channels=1))
    grid = student.backbone.patch_embed.grid_size
    assert tuple(grid) == (3, 3)
    expected = resample_abs_pos_embed(teacher.backbone.pos_embed, list(grid), num_prefix_tokens=1)
    assert torch.equal(student.backbone.pos_embed, expected)
    ready_made = timm.create_model("test_vit", img_size=48, num_classes=0, in_chans=1)
    assert student.backbone.state_dict().keys() == ready_made.state_dict().keys()
    assert torch.isfinite(student(torch.zeros(2, 1, 48, 48))).all()


def test_the_head_is_the_configured_one_or_the_teachers_own() -> None:
    teacher = teacher_of()
    with_head = student_of(teacher, head="mlp")
    assert with_head.architecture.head == "mlp"
    assert with_head.width == teacher.width
    assert not with_head.offset.any()
    torch.manual_seed(0)
    headed = build_student(StudentConfig(backbone="test_resnet", head="linear"), Image(size=32, mean=(0, 0, 0)), 7)
    same = student_of(headed.eval(), head="linear")
    items = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(same(items), headed(items))
    with pytest.raises(EncoderError, match=r"Without its head(.|\n)*linear"):
        student_of(headed, head="none")


def test_what_does_not_fit_is_said() -> None:
    teacher = teacher_of()
    with pytest.raises(EncoderError, match=r"another backbone(.|\n)*test_resnet(.|\n)*leave student.backbone out"):
        student_of(teacher, backbone="resnet18")
    assert student_of(teacher, backbone="test_resnet.r160_in1k").architecture.backbone == "test_resnet"
    with pytest.raises(EncoderError, match="another kind of input"):
        student_of(teacher, Embedding(width=9))
    four = teacher_of()
    four.backbone = timm.create_model("test_resnet", num_classes=0, in_chans=4)
    with pytest.raises(EncoderError, match=r"do not fit(.|\n)*conv1"):
        student_of(four)
    own = Encoder.from_module(timm.create_model("test_resnet", num_classes=0), teacher.modality)
    with pytest.raises(EncoderError, match="module of your own"):
        student_of(own)
    with pytest.raises(ConfigError, match="no teacher at hand"):
        build_student(StudentConfig.model_validate(FROM_TEACHER), Image(), 5)
    with pytest.raises(ConfigError, match="no teacher at hand"):
        resolve_modality(StudentConfig.model_validate(FROM_TEACHER), Image())
    bare = build_teacher(TeacherConfig(backbone="identity", weights="none"), Embedding(width=5))
    with pytest.raises(EncoderError, match="has no weights"):
        student_of(bare, Embedding(width=5))


def test_it_is_saved_and_read_back(tmp_path: Path) -> None:
    student = student_of(teacher_of(), Image(channels=1))
    save_encoder(tmp_path, student, {})
    again = load_encoder(tmp_path)
    items = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(items), student(items))


def test_a_run_from_the_teachers_weights(tiny: dict[str, Any]) -> None:
    """Stage 1 makes the teacher, its copy is the student, and the control says what that is worth by itself."""
    folder = run(
        {
            **tiny,
            "target": {"modality": "image", "size": 32},
            "student": FROM_TEACHER,
            "baselines": [],
            "evaluate": {"protocols": ["retrieval"], "controls": ["initial_student", "random_student"]},
        }
    )
    metrics = json.loads(folder.metrics.read_text())
    assert [outcome["name"] for outcome in metrics["outcomes"]] == ["cmcd", "random_student", "initial_student"]
    assert metrics["student"]["origin"].startswith("the teacher (")
    student, teacher = load_encoder(folder.student), load_encoder(folder.teacher)
    assert np.array_equal(student.offset.numpy(), teacher.offset.numpy())
    assert teacher.offset.abs().sum() > 0
