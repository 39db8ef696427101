"""A student that begins as a copy of its teacher: the same backbone and weights, for the target's channels and size."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from crossdistill.encoders.backbone import build_backbone
from crossdistill.encoders.config import TEACHER, StudentConfig
from crossdistill.encoders.detail import AUTO, WithDetail, detail_of, plain_backbone, with_detail
from crossdistill.encoders.encoder import Architecture, Encoder, output_width
from crossdistill.encoders.head import build_head
from crossdistill.encoders.timm_backbone import load_backbone_state
from crossdistill.errors import EncoderError
from crossdistill.modalities import Modality


def teacher_backbone(config: StudentConfig, teacher: Encoder) -> str:
    """The teacher's backbone by name.

    Raises:
        EncoderError: the student's section names another, or it is a module that has no name, or one without weights.
    """
    name = teacher.architecture.backbone
    if name.startswith("python:"):
        raise EncoderError(
            "The teacher is a module of your own, which cannot be built again for the student.",
            where=f"student.weights: {TEACHER}", expected="a teacher whose backbone has a name", received=name,
            fix="pass a copy of it as the student, or give the student a backbone and weights of its own",
        )  # fmt: skip
    if config.backbone is not None and config.backbone.partition(".")[0] != name.partition(".")[0]:
        raise EncoderError(
            "The teacher's weights belong to another backbone than the student's.", where="student.backbone",
            expected=name, received=config.backbone, fix=f"leave student.backbone out where weights is {TEACHER}",
        )  # fmt: skip
    if not any(True for _ in teacher.backbone.parameters()):
        raise EncoderError(
            "The teacher's backbone has no weights.", where=f"student.weights: {TEACHER}", received=name,
            fix="give the student a backbone and weights of its own",
        )  # fmt: skip
    return name


def student_of_teacher(config: StudentConfig, modality: Modality, teacher: Encoder) -> Encoder:
    """A student with the teacher's weights.

    The first layer's weights are summed over the channels for a target of one channel, or repeated for one of several
    (as timm does), and position embeddings are resampled for its size. With a head of the teacher's kind (``none``
    where it has none) and the teacher's detail, which it has by default, the student begins in the teacher's very
    space, offset included; any other head is a new one.

    Args:
        config: the ``student:`` section, with ``weights: teacher``.
        modality: the ``target:`` section; what it leaves open comes from the teacher.
        teacher: centred as it will be while it teaches. It is not changed.

    Raises:
        EncoderError: the teacher's weights do not fit the target or the section; the message says what.
    """
    name = teacher_backbone(config, teacher)
    resolved = modality.resolve(teacher.modality.as_defaults())
    patch_size = config.patch_size or teacher.architecture.patch_size
    backbone = build_backbone(name, resolved.shape, patch_size=patch_size)
    load_backbone_state(backbone, dict(plain_backbone(teacher).state_dict()), name=name, origin="the teacher")
    features, width = output_width(backbone, resolved, name), teacher.width
    bare = Architecture(backbone=name, features=features, head="none", width=features, patch_size=patch_size)
    own = detail_of(teacher.architecture)
    start = with_detail(
        Encoder(backbone, nn.Identity(), resolved, bare, "the teacher"),
        own if config.detail == AUTO else config.detail, "student",
    )  # fmt: skip
    features = start.architecture.features
    alike = detail_of(start.architecture) == own
    same_head = config.head == teacher.architecture.head and alike
    if config.head == "none" and not same_head:
        raise EncoderError(
            "Without its head the teacher's weights end in another space than the teacher's.", where="student.head",
            expected="linear or mlp: a new head, as only one of them has this detail" if not alike
            else f"{teacher.architecture.head}, as the teacher has, or a new head of the other kind",
            received="none",
        )  # fmt: skip
    head: nn.Module = copy.deepcopy(teacher.head).cpu() if same_head else build_head(config.head, features, width)
    architecture = replace(start.architecture, head=config.head, width=width)
    origin = f"the teacher ({teacher.origin})"
    student = Encoder(start.backbone, head.requires_grad_(True), resolved, architecture, origin)
    if same_head:
        with torch.no_grad():
            if isinstance(student.backbone, WithDetail) and isinstance(teacher.backbone, WithDetail):
                student.backbone.scale.copy_(teacher.backbone.scale)
            student.offset.copy_(teacher.offset)
    return student
