"""Encoders: any timm backbone or any module, with weights, head and preprocessing that travel together."""

from crossdistill.encoders.build import (
    build_source_backbone,
    build_student,
    build_teacher,
    resolve_modality,
    student_backbone,
)
from crossdistill.encoders.config import StudentConfig, TeacherConfig
from crossdistill.encoders.encoder import Architecture, Encoder, Teacher, weights_hash
from crossdistill.encoders.store import describe_encoder, has_encoder, load_encoder, save_encoder

__all__ = [
    "Architecture", "Encoder", "StudentConfig", "Teacher", "TeacherConfig", "build_source_backbone", "build_student",
    "build_teacher", "describe_encoder", "has_encoder", "load_encoder", "resolve_modality", "save_encoder",
    "student_backbone", "weights_hash",
]  # fmt: skip
