"""Teachers and students as a configuration names them: backbone, weights, preprocessing, head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from crossdistill.encoders.backbone import backbone_defaults, build_backbone
from crossdistill.encoders.config import NONE, PRETRAINED, RANDOM, TEACHER, StudentConfig, TeacherConfig
from crossdistill.encoders.detail import AUTO, GridConfig, StudentDetailConfig, detail_of, with_detail
from crossdistill.encoders.encoder import Architecture, Encoder, output_width
from crossdistill.encoders.from_teacher import student_of_teacher, teacher_backbone
from crossdistill.encoders.head import build_head
from crossdistill.encoders.store import describe_encoder, has_encoder, load_encoder
from crossdistill.encoders.timm_backbone import load_backbone_state
from crossdistill.encoders.weights import PACKAGED, packaged_state, read_state
from crossdistill.errors import ConfigError, EncoderError
from crossdistill.files import sha256_file
from crossdistill.modalities import InputDefaults, Modality, parse_modality


def build_teacher(config: TeacherConfig, modality: Modality) -> Encoder:
    """The source encoder with its weights and its own preprocessing where ``modality`` leaves it open.

    It has the detail that the section names. With ``auto`` it has none here: a run adds it, which also weighs it on the
    training pairs (see :func:`~crossdistill.encoders.detail.calibrate`).

    Raises:
        EncoderError: unknown backbone, weights that do not fit, or a size that it cannot take.
    """
    detail = None if config.detail == AUTO else config.detail
    return _ready(with_detail(_build(config.backbone, config.weights, modality, "teacher"), detail))


def build_source_backbone(backbone: str, modality: Modality) -> Encoder:
    """An encoder of random weights, for pretraining in the source modality."""
    return _ready(_build(backbone, RANDOM, modality, "pretrain"))


def build_student(
    config: StudentConfig,
    modality: Modality,
    width: int,
    sample: Tensor | None = None,
    *,
    teacher: Encoder | None = None,
) -> Encoder:
    """The target encoder with a new head into the teacher's space.

    Args:
        config: the ``student:`` section.
        modality: the ``target:`` section. What it leaves open comes from the weights; a student of random weights is
            normalised by the statistics of ``sample`` instead.
        width: of the teacher's embeddings.
        sample: decoded training items ``(N, *shape)``.
        teacher: whose weights it begins with, where ``config.weights`` is ``teacher`` (see ``from_teacher.py``).

    Raises:
        EncoderError: as for :func:`build_teacher`, or a head that cannot bridge the widths.
    """
    if config.weights == TEACHER:
        return _ready(student_of_teacher(config, modality, _given(teacher)))
    untrained = config.weights in (NONE, RANDOM)
    if untrained and sample is not None:
        modality = modality.with_statistics(sample)
    start = _build(config.backbone, config.weights, modality, "student", config.patch_size)
    start = with_detail(start, student_detail(config, teacher), "student")
    if not untrained or sample is not None:
        _ready(start)
    features = start.architecture.features
    architecture = replace(start.architecture, features=features, head=config.head, width=width)
    if start.architecture == architecture:  # an earlier student of the same kind goes on with its own head
        return start
    return Encoder(start.backbone, build_head(config.head, features, width), start.modality, architecture, start.origin)


def student_detail(config: StudentConfig, teacher: Encoder | None) -> GridConfig | Literal["auto"] | None:
    """The student's detail: with ``auto`` none where its teacher has none to follow, or is not at hand."""
    follows = teacher is not None and teacher.architecture.detail_level is not None
    return None if config.detail == AUTO and not follows else config.detail


def _given(teacher: Encoder | None) -> Encoder:
    if teacher is None:
        raise ConfigError(
            "There is no teacher at hand to take the student's weights from.", where=f"student.weights: {TEACHER}",
            expected="a run, whose configuration names the teacher",
        )  # fmt: skip
    return teacher


def resolve_modality(
    config: TeacherConfig | StudentConfig, modality: Modality, teacher: Encoder | None = None
) -> Modality:
    """``modality`` with what it leaves open taken from the encoder's weights, without building the encoder."""
    if isinstance(config, StudentConfig) and config.weights == TEACHER:
        return modality.resolve(_given(teacher).modality.as_defaults())
    role = "teacher" if isinstance(config, TeacherConfig) else "student"
    return modality.resolve(_defaults(config.backbone, config.weights, role))


def with_random_weights(config: StudentConfig, teacher: Encoder | None = None) -> StudentConfig:
    """The same network before any training, wherever the configuration takes its backbone from."""
    patch_size, detail = config.patch_size, config.detail
    folder = encoder_folder(Path(config.weights))
    if config.weights == TEACHER:
        name = teacher_backbone(config, _given(teacher))
        patch_size = patch_size or _given(teacher).architecture.patch_size
    elif folder is not None:
        architecture = Architecture(**describe_encoder(folder)["architecture"])
        name, patch_size = architecture.backbone, architecture.patch_size
        found = detail_of(architecture)
        detail = detail if found is None else StudentDetailConfig(**found.model_dump())
    else:
        name = _backbone_name(config.backbone, config.weights, "student")
    return config.model_copy(update={"weights": RANDOM, "backbone": name, "patch_size": patch_size, "detail": detail})


def encoder_folder(path: Path) -> Path | None:
    """The encoder below a run folder: the folder itself, its ``student``, or its ``pretrained``; else None."""
    return next((place for place in (path, path / "student", path / "pretrained") if has_encoder(place)), None)


def _defaults(backbone: str | None, weights: str, role: str) -> InputDefaults:
    folder = encoder_folder(Path(weights))
    if folder is not None:
        return parse_modality(describe_encoder(folder)["preprocessing"]).as_defaults()
    return backbone_defaults(_backbone_name(backbone, weights, role))


def _backbone_name(backbone: str | None, weights: str, role: str) -> str:
    if backbone is not None:
        return backbone
    if weights in PACKAGED:
        return PACKAGED[weights].backbone
    raise ConfigError(f"The {role} has no backbone.", where=f"{role}.backbone", expected="a timm model name")


def _build(backbone: str | None, weights: str, modality: Modality, role: str, patch_size: int | None = None) -> Encoder:
    folder = encoder_folder(Path(weights))
    if folder is not None:
        return _from_run(folder, backbone, modality, role, patch_size)
    name = _backbone_name(backbone, weights, role)
    resolved = modality.resolve(backbone_defaults(name))
    model = build_backbone(name, resolved.shape, pretrained=weights == PRETRAINED, patch_size=patch_size)
    if weights in (NONE, RANDOM, PRETRAINED) and not any(True for _ in model.parameters()):
        origin = "a backbone without weights"
    elif weights == PRETRAINED:
        origin = "timm pretrained weights"
    elif weights == RANDOM:
        origin = "random initialisation"
    elif weights in PACKAGED:
        packaged = PACKAGED[weights]
        if name.partition(".")[0] != packaged.backbone:
            raise EncoderError(
                "The packaged weights belong to another backbone.",
                where=f"{role}.backbone",
                expected=packaged.backbone,
                received=name,
            )
        load_backbone_state(model, packaged_state(packaged), name=name, origin=weights)
        origin = f"package {packaged.package}, sha256 {packaged.sha256}"
    else:
        path = Path(weights)
        if not path.exists():
            names = ", ".join([PRETRAINED, RANDOM, *sorted(PACKAGED)])
            raise EncoderError(
                "The weights are neither a known name nor a file or run.",
                where=f"{role}.weights",
                expected=f"one of {names}, a weights file, or a run folder",
                received=weights,
            )
        if path.is_dir():
            raise EncoderError(
                "The folder holds no encoder of ours.",
                where=f"{role}.weights = {path}",
                expected="a run folder with student/encoder.json or pretrained/encoder.json",
            )
        load_backbone_state(model, read_state(path), name=name, origin=str(path))
        origin = f"file {path.name}, sha256 {sha256_file(path)}"
    width = output_width(model, resolved, name)
    architecture = Architecture(backbone=name, features=width, head="none", width=width, patch_size=patch_size)
    return Encoder(model, nn.Identity(), resolved, architecture, origin)


def _from_run(folder: Path, backbone: str | None, modality: Modality, role: str, patch_size: int | None) -> Encoder:
    encoder = load_encoder(folder)
    if patch_size not in (None, encoder.architecture.patch_size):
        raise EncoderError(
            "The run's encoder has other patches.", where=f"{role}.patch_size",
            expected=encoder.architecture.patch_size or "the usual ones", received=patch_size,
            fix=f"leave {role}.patch_size out: the run knows it",
        )  # fmt: skip
    if backbone not in (None, encoder.architecture.backbone):
        raise EncoderError(
            "The run holds another backbone.",
            where=f"{role}.backbone",
            expected=encoder.architecture.backbone,
            received=backbone,
            fix=f"leave {role}.backbone out: the run knows it",
        )
    resolved = modality.resolve(encoder.modality.as_defaults())
    if _channels(resolved.shape) != _channels(encoder.modality.shape):
        raise EncoderError(
            "The run's encoder takes another number of channels.",
            where=folder,
            expected=_channels(encoder.modality.shape),
            received=_channels(resolved.shape),
        )
    encoder.modality = resolved
    output_width(encoder, encoder.modality, encoder.architecture.backbone)
    encoder.origin = f"earlier run {folder.name} ({encoder.origin})"
    return encoder


def _channels(shape: tuple[int, ...]) -> int:
    """Of pictures and clips; of vectors the width."""
    return shape[0] if len(shape) == 1 else shape[-3]


def _ready(encoder: Encoder) -> Encoder:
    """The encoder, after its preprocessing has said whether it lacks anything."""
    encoder.modality.normalise(torch.zeros(1, *encoder.modality.shape))
    return encoder
