"""Encoders: any timm backbone or any module, with weights, head and preprocessing that travel together."""

from crossdistill.encoders.build import (
    build_source_backbone,
    build_student,
    build_teacher,
    resolve_modality,
    with_random_weights,
)
from crossdistill.encoders.config import StudentConfig, TeacherConfig
from crossdistill.encoders.encoder import Architecture, Encoder, Teacher, weights_hash
from crossdistill.encoders.maps import (
    Level,
    chosen_levels,
    feature_maps,
    features_and_map,
    levels_of,
    without_the_rest,
)
from crossdistill.encoders.store import describe_encoder, forget_encoder, has_encoder, load_encoder, save_encoder

__all__ = [
    "Architecture", "Encoder", "Level", "StudentConfig", "Teacher", "TeacherConfig", "build_source_backbone",
    "build_student", "build_teacher", "chosen_levels", "describe_encoder", "feature_maps", "features_and_map",
    "forget_encoder", "has_encoder", "levels_of", "load_encoder", "resolve_modality", "save_encoder", "weights_hash",
    "with_random_weights", "without_the_rest",
]  # fmt: skip
