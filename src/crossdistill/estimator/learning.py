"""How the estimator learns: by the library's own stages on pairs, or by its own training loop on vectors at hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse

from crossdistill.encoders import Encoder, StudentConfig, build_student, resolve_modality
from crossdistill.errors import ConfigError
from crossdistill.files import write_json
from crossdistill.modalities import Modality, parse_modality
from crossdistill.objectives import ObjectiveConfig
from crossdistill.pairs import Pairs, PairsConfig
from crossdistill.pairs.items import Items
from crossdistill.pipeline import CrossModalModel, RunConfig, RunFolder, load, load_config, make_config, run_stage_two
from crossdistill.training import TrainConfig, distil
from crossdistill.training.loop import choose_device
from crossdistill.validation import validated

PairsLike = Pairs | PairsConfig | RunConfig | Mapping[str, Any] | str | Path
_SAMPLE = 1024  # training items behind the normalisation of a student of random weights
_VECTORS, _PICTURES = "mlp", "resnet18"


class EstimatorError(ConfigError, ValueError):
    """Wrong input of the estimator; a ValueError too, as scikit-learn's users and checks expect."""


@dataclass(frozen=True)
class Settings:
    """The estimator's parameters; None leaves a setting to the configuration, or to the library's default."""

    objective: Any
    temperature: float | None
    teacher: Any
    student: Any
    source: Any
    target: Any
    center: bool | None
    train: Mapping[str, Any]
    out: str | Path | None
    seed: int | None

    def objective_section(self, configured: Any = None) -> Any:
        """The ``objective:`` section; ``temperature`` goes into it."""
        section = self.objective if self.objective is not None else configured
        if self.temperature is None:
            return section
        if isinstance(section, list):
            raise ConfigError(
                "A sum of objectives has no temperature of its own.", where="temperature", received=self.temperature,
                fix="set it in the objective's terms",
            )  # fmt: skip
        named = {"name": section} if isinstance(section, str) else dict(section or {})
        return {**named, "temperature": self.temperature}

    def training(self) -> dict[str, Any]:
        """The ``train:`` section as far as it is given."""
        found = {name: value for name, value in self.train.items() if value is not None}
        return found if self.seed is None else {**found, "seed": self.seed}


def is_pairs(value: Any) -> bool:
    """Whether ``fit`` was given pairs, or where they are, and not arrays."""
    # One of scipy's sparse matrices is a mapping too.
    return isinstance(value, Pairs | PairsConfig | RunConfig | Mapping | str | Path) and not issparse(value)


def learn_from_pairs(given: PairsLike, settings: Settings) -> CrossModalModel:
    """Stages 1 and 2 in a run folder: ``settings.out``, or one that is gone afterwards.

    Pairs at hand are written as a manifest: beside the run folder, where that is kept, as it names them.
    """
    with tempfile.TemporaryDirectory(prefix="crossdistill-") as name:
        out = Path(name) / "run" if settings.out is None else Path(settings.out)
        place = Path(name) if settings.out is None else out.with_name(f"{out.name}.pairs").absolute()
        config = _configuration(given, settings, place, out)
        folder = run_stage_two(config, teacher=_own(settings.teacher), student=_own(settings.student))
        model = load(
            folder.root, teacher=_own(settings.teacher), student=_own(settings.student), device=config.train.device
        )
        if settings.out is None:
            model.remember_run()
        return model


def _own(encoder: Any) -> Encoder | None:
    return encoder if isinstance(encoder, Encoder) else None


def _configuration(given: PairsLike, settings: Settings, place: Path, out: Path) -> RunConfig:
    """The configuration that was given, or that of these pairs, with the parameters that are set."""
    content = _content(given, place)
    wanted: dict[str, Any] = {"out": str(out), "trackers": []}
    for name in ("source", "target"):
        if (value := getattr(settings, name)) is not None:
            wanted[name] = _section(value, "modality")
    for name, first in (("teacher", "weights"), ("student", "backbone")):
        value = getattr(settings, name)
        if value is not None and not isinstance(value, Encoder):
            wanted[name] = _section(value, first)
    if settings.center is not None:
        wanted["teacher"] = {**(wanted.get("teacher") or content.get("teacher") or {}), "center": settings.center}
    if (objective := settings.objective_section(content.get("objective"))) is not None:
        wanted["objective"] = objective
    wanted["train"] = {**(content.get("train") or {}), **settings.training()}
    return make_config({**content, **wanted}, where="CrossModalEmbedder")


def _content(given: PairsLike, place: Path) -> dict[str, Any]:
    if isinstance(given, RunConfig):
        return given.to_dict()
    if isinstance(given, Mapping):
        return dict(given) if "pairs" in given else {"pairs": dict(given)}
    if isinstance(given, PairsConfig):
        return {"pairs": given.model_dump(mode="json")}
    if isinstance(given, Pairs):
        return {"pairs": {"manifest": str(_manifest(given, place))}}
    if Path(given).suffix.lower() in (".yaml", ".yml"):
        return load_config(Path(given)).to_dict()
    return {"pairs": str(given)}


def _manifest(pairs: Pairs, place: Path) -> Path:
    """Pairs at hand as a manifest, with their name and licence.

    Raises:
        EstimatorError: they are parts of shards, arrays or tables, which a manifest cannot name.
    """
    for pair in pairs:
        for side, item in (("source", pair.source), ("target", pair.target), ("mask", pair.mask)):
            if item is not None and not isinstance(item, Path):
                raise EstimatorError(
                    "These pairs are open already, and their items are parts of larger files, which a run could not "
                    "find again by itself.",
                    where=f"{pair.where}, {side}: {item}" if pair.where else f"{side}: {item}",
                    expected="pairs of files, or the section that such pairs are opened with",
                    received=type(item).__name__,
                    fix='pass the pairs section itself: fit({"webdataset": {...}}), fit({"arrays": {...}}), ...',
                )  # fmt: skip
    pairs.to_csv(place / "pairs.csv")
    licence = pairs.licence
    about = {} if licence is None else {"licence": vars(licence)}
    write_json(place / "dataset.json", {"name": pairs.name, **about})
    return place / "pairs.csv"


def _section(value: Any, first: str) -> Any:
    """A bare name as a mapping, the way a configuration has it."""
    if isinstance(value, Modality):
        return value.model_dump(mode="json", by_alias=True)
    return {first: value} if isinstance(value, str) else value


def learn_from_vectors(
    items: Items, teacher: NDArray[np.float32], settings: Settings, backbone: str | None = None
) -> CrossModalModel:
    """A student of decoded target items, taught by the teacher's vectors of their partners ``(n, d)``."""
    if settings.teacher is not None or settings.source is not None:
        raise EstimatorError(
            "The source embeddings are given, so there is nothing for a teacher to do.",
            where="teacher" if settings.teacher is not None else "source", fix="leave it out, or fit on pairs",
        )  # fmt: skip
    config = validated(TrainConfig, {**settings.training(), "batch_size": _batch(settings, len(items))}, "train")
    objective = ObjectiveConfig.model_validate(settings.objective_section() or "cmcd")
    vectors = torch.from_numpy(np.ascontiguousarray(teacher))
    _, identity = np.unique(teacher, axis=0, return_inverse=True)
    ids = torch.from_numpy(identity.reshape(-1).astype(np.int64))
    if int(ids.max()) == 0:
        raise EstimatorError(
            "All source embeddings are equal, so there is nothing to learn from them.", where="y",
            expected="embeddings that tell items apart",
        )  # fmt: skip
    offset = vectors.mean(dim=0) if settings.center is not False else torch.zeros(vectors.shape[1])
    torch.manual_seed(config.seed)
    student, items = _student(settings, items, vectors.shape[1])
    distil(student, items, vectors - offset, ids, objective.build(), config, title="distilling")
    return CrossModalModel(RunFolder(Path("a model at hand")), {"target": student}, choose_device(config.device))


def _batch(settings: Settings, count: int) -> int:
    wanted = settings.train.get("batch_size")
    return min(int(TrainConfig().batch_size if wanted is None else wanted), count)


def _student(settings: Settings, items: Items, width: int) -> tuple[Encoder, Items]:
    """The student as it is before training, and the items as it wants them normalised."""
    if isinstance(settings.student, Encoder):
        raise EstimatorError(
            "A student of your own needs pairs.", where="student", fix="fit on pairs, or use crossdistill.training"
        )
    config = student_config(settings, items.modality)
    student = build_student(config, items.modality, width, items.batch(range(min(_SAMPLE, len(items)))))
    return student, Items.like(items, student.modality)


def student_config(settings: Settings, modality: Modality) -> StudentConfig:
    """The ``student:`` section; without one an ``mlp`` for vectors and a ``resnet18`` for anything else."""
    usual = _VECTORS if modality.modality == "embedding" else _PICTURES
    section = {"backbone": usual} if settings.student is None else _section(settings.student, "backbone")
    return validated(StudentConfig, section, "student")


def target_modality(settings: Settings) -> Modality:
    """The target's modality with what it leaves open taken from the student."""
    modality = parse_modality(_section(settings.target, "modality"), "target")
    return resolve_modality(student_config(settings, modality), modality)


def decoded(items: Sequence[Any], modality: Modality) -> Items:
    """Paths, arrays or pictures as items."""
    values = [
        modality.decode(Path(item)) if isinstance(item, str | Path) else modality.from_array(item) for item in items
    ]
    return Items.of_tensor(torch.stack(values), modality)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves torch's random numbers and switches as they were: a transformer is one part of somebody's work."""
    switched = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(switched[0], warn_only=switched[1])
            torch.backends.cudnn.benchmark = benchmark
            if workspace is None:
                os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
