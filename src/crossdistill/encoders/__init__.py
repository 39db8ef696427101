"""Encoders: any timm backbone or any module, with weights, head and preprocessing that travel together."""

from crossdistill.encoders.build import (
    build_source_backbone,
    build_student,
    build_teacher,
    resolve_modality,
    with_random_weights,
)
from crossdistill.encoders.config import StudentConfig, TeacherConfig
from crossdistill.encoders.detail import (
    DetailConfig,
    GridConfig,
    StudentDetailConfig,
    calibrate,
    detail_width,
    features_and_map,
    plain_backbone,
    scaling,
    uncalibrated,
    with_detail,
    without_detail,
)
from crossdistill.encoders.encoder import Architecture, Encoder, Teacher, weights_hash
from crossdistill.encoders.maps import (
    Level,
    chosen_levels,
    feature_maps,
    levels_of,
    without_the_rest,
)
from crossdistill.encoders.store import describe_encoder, forget_encoder, has_encoder, load_encoder, save_encoder

__all__ = [
    "Architecture", "DetailConfig", "Encoder", "GridConfig", "Level", "StudentConfig", "StudentDetailConfig",
    "Teacher", "TeacherConfig", "build_source_backbone", "build_student", "build_teacher", "calibrate",
    "chosen_levels", "describe_encoder", "detail_width", "feature_maps", "features_and_map", "forget_encoder",
    "has_encoder", "levels_of", "load_encoder", "plain_backbone", "resolve_modality", "save_encoder", "scaling",
    "uncalibrated", "weights_hash", "with_detail", "with_random_weights", "without_detail", "without_the_rest",
]  # fmt: skip
