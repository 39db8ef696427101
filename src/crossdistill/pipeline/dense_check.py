"""Whether a run can distil densely, found out before anything is computed."""

from __future__ import annotations

import torch

from crossdistill.encoders import Encoder, Level, levels_of
from crossdistill.errors import ConfigError, EncoderError
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import Side
from crossdistill.pipeline.config import RunConfig


def check_dense(run: RunConfig, student: Encoder, teacher: Encoder) -> None:
    """Refuses what dense distillation cannot do, before anything is computed.

    Raises:
        ConfigError: an encoder has no feature map, an objective needs more than the batch, or a setting of the training
            does not go together with it.
    """
    config, train = run.dense, run.train
    if config is None:
        return
    map_level(teacher, config.level, "source")
    map_level(student, config.level, "target")
    if run.semi is not None and run.semi.term is not None:
        raise ConfigError("Dense distillation does not go together with a term for unpaired items.", where="semi.term",
                          received=run.semi.term, fix="leave semi.term out, or dense")  # fmt: skip
    for name, off in (("embed_at_once", None), ("resolution", ()), ("compile", False), ("parallel", "ddp")):
        if getattr(train, name) != off:
            raise ConfigError(
                "Dense distillation does not go together with this setting.", where=f"train.{name}",
                received=getattr(train, name), expected=f"{off or 'left out'}", fix=f"leave train.{name} out, or dense",
            )  # fmt: skip
    for objective in (run.objective, *run.baselines):
        _check_objective(config.objective or objective)


def map_level(encoder: Encoder, level: int, side: Side) -> Level:
    """One of an encoder's feature maps.

    Args:
        encoder: teacher or student.
        level: number of the map, from the end where it is negative.
        side: what the encoder reads.

    Raises:
        ConfigError: it has none, or none of that number.
    """
    try:
        levels = levels_of(encoder)
    except EncoderError as error:
        role = "teacher" if side == "source" else "student"
        raise ConfigError(
            "Dense distillation needs feature maps on both sides.", where=f"dense, {role}",
            expected=error.details.get("expected"), received=error.details.get("received"),
            fix="leave dense out, or take encoders of pictures",
        ) from error  # fmt: skip
    if not -len(levels) <= level < len(levels):
        raise ConfigError("There is no feature map of this number.", where="dense.level", received=level,
                          expected=f"{-len(levels)} to {len(levels) - 1}, as {encoder.architecture.backbone} has "
                          f"{len(levels)} maps")  # fmt: skip
    return levels[level]


def _check_objective(config: ObjectiveConfig) -> None:
    """An objective that compares with a bank would need one of all cells of all items."""
    objective = config.build()
    rows = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    try:
        objective(rows[0], rows[1], torch.arange(8))
    except ValueError as error:
        raise ConfigError(
            "This objective compares with more than the batch, which dense distillation does not have.",
            where="dense.objective", received=f"{config.label}: {config.name}",
            expected="an objective with against: batch, such as cmc or l2", fix="set dense.objective: {name: l2}",
        ) from error  # fmt: skip
