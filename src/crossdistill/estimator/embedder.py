"""``CrossModalEmbedder``: distillation as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from crossdistill.console import quiet
from crossdistill.encoders import Encoder
from crossdistill.estimator.learning import (
    EstimatorError,
    PairsLike,
    Settings,
    decoded,
    is_pairs,
    learn_from_pairs,
    learn_from_vectors,
    target_modality,
    undisturbed,
)
from crossdistill.evaluation import embed_items, ranks
from crossdistill.evaluation.probes import unit
from crossdistill.modalities.embedding import Embedding
from crossdistill.pairs import Pairs, PairsConfig, Side, open_pairs
from crossdistill.pairs.items import Items
from crossdistill.pipeline import RunConfig, load_config

Vectors = NDArray[np.float32]
_FEWEST = 4  # pairs


class CrossModalEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embeds target items into the space of a source encoder, learned from pairs.

    ``fit(pairs)`` takes pairs in any form that crossdistill reads. ``fit(X, y)`` takes arrays: target vectors ``X``
    ``(n, p)``, or with ``target`` a sequence of paths or pictures, and the teacher's vectors of their partners ``y``
    ``(n, d)``. A parameter that is None is left to the configuration that ``fit`` is given, else to the library.

    Args:
        objective: name, mapping or list, as in a configuration's ``objective``; default ``cmcd``.
        temperature: of the objective.
        teacher: with pairs: weights (``efficientnet-lite0``, a run), a mapping, or an :class:`~crossdistill.Encoder`.
        student: a backbone's name, a mapping, or an Encoder; default ``mlp`` for vectors, ``resnet18`` for pictures.
        source: with pairs: the source's modality, a name or a mapping.
        target: the target's modality; for arrays of vectors it is left out.
        center: whether the mean of the source embeddings is subtracted; default True.
        epochs: of training.
        batch_size: of training; at most the number of pairs.
        lr: peak learning rate.
        train: further settings of a configuration's ``train`` section.
        device: ``auto``, ``cpu``, ``cuda``, ...
        out: with pairs: a run folder to keep; by default it is gone after ``fit``.
        random_state: an int makes the same embeddings each time.
        verbose: whether progress is told.

    Attributes:
        model_: the :class:`~crossdistill.CrossModalModel`; it has ``save_pretrained``.
        offset_: ``(d,)`` what ``center`` subtracts from source embeddings; with arrays alone.
        n_features_in_: ``p``; with arrays of vectors alone.
    """

    def __init__(
        self,
        *,
        objective: Any = None,
        temperature: float | None = None,
        teacher: Any = None,
        student: Any = None,
        source: Any = None,
        target: Any = None,
        center: bool | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        train: Mapping[str, Any] | None = None,
        device: str | None = None,
        out: str | Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.objective = objective
        self.temperature = temperature
        self.teacher = teacher
        self.student = student
        self.source = source
        self.target = target
        self.center = center
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.train = train
        self.device = device
        self.out = out
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: PairsLike | Any, y: Any = None, *, source: Any = None) -> Self:  # noqa: N803  # scikit-learn's name
        """Learns from pairs, or from arrays.

        Args:
            X: pairs (:class:`~crossdistill.Pairs`, a manifest's path, a built-in set's name, a ``pairs`` section, or a
                configuration); or target vectors ``(n, p)``; or with ``target`` a sequence of ``n`` items.
            y: with arrays: source embeddings ``(n, d)``. Ignored where ``source`` is given.
            source: the same under another name, for a ``Pipeline`` whose ``y`` are labels.

        Raises:
            ValueError: arrays do not fit (a :class:`~crossdistill.CrossDistillError` too, where it is about their
                meaning).
            CrossDistillError: pairs or parameters cannot be used.
        """
        with undisturbed(), nullcontext() if self.verbose else quiet():
            if is_pairs(X):
                for name in ("n_features_in_", "feature_names_in_", "offset_"):
                    self.__dict__.pop(name, None)
                self.model_ = learn_from_pairs(X, self._settings(configured=True))
            else:
                self._fit_arrays(X, y if source is None else source)
        return self

    def _fit_arrays(self, X: Any, given: Any) -> None:  # noqa: N803
        settings = self._settings(configured=False)
        if given is None:
            raise EstimatorError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: without the source "
                "embeddings of the same pairs there is no teacher.",
                expected="fit(X, y) with y (n, d), fit(X, labels, source=embeddings) in a Pipeline, or fit(pairs)",
            )  # fmt: skip
        if self.target is None:
            X = validate_data(self, X, dtype=np.float32, ensure_min_samples=_FEWEST, ensure_min_features=2)  # noqa: N806
            items = Items.of_tensor(torch.tensor(X), Embedding(width=X.shape[1], normalise_with="standardise"))
        else:
            self.__dict__.pop("n_features_in_", None)
            items = decoded(X, target_modality(settings))
        teacher = self._vectors(given, _FEWEST)
        check_consistent_length(items, teacher)
        self.offset_ = teacher.mean(axis=0) if self.center is not False else np.zeros(teacher.shape[1], np.float32)
        self.model_ = learn_from_vectors(items, teacher, settings)

    @staticmethod
    def _vectors(given: Any, fewest: int = 1) -> Vectors:
        """Source embeddings ``(n, d)`` as they have to be."""
        plain = check_array(given, dtype=None, ensure_2d=False, ensure_all_finite=False, input_name="y")
        if plain.ndim == 1:
            raise EstimatorError(
                "The source embeddings are one-dimensional, as labels are.", where="y", expected="(n, d)",
                received=f"({len(plain)},)",
                fix="in a Pipeline whose y are labels, pass them as fit(X, y, NAME__source=embeddings)",
            )  # fmt: skip
        vectors: Vectors = check_array(plain, dtype=np.float32, ensure_min_samples=fewest, input_name="y")
        if vectors.shape[1] == 1:
            warnings.warn("source embeddings of one value: at unit length only their sign is left", stacklevel=4)
        return vectors

    def transform(self, X: Any) -> Vectors:  # noqa: N803
        """Embeds target items.

        Args:
            X: target vectors ``(n, p)``; a sequence of paths or pictures, where it was fitted on such; or pairs, whose
                target items are taken in the order of their rows.

        Returns:
            ``(n, d)`` float32, unit length.
        """
        check_is_fitted(self, "model_")
        with quiet():
            if hasattr(self, "n_features_in_"):
                values = validate_data(self, X, dtype=np.float32, reset=False)
                return self._embed(Items.of_tensor(torch.tensor(values), self._student.modality), "target")
            if is_pairs(X):
                pairs = _opened(X)
                return self._embed_rows(pairs, pairs.where(has=("target",)), "target")
            return self.model_.embed(X, "target")

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """How well partners are found: the mean reciprocal rank of each target's own source among all of them.

        Args:
            X: target items as for :meth:`transform`; of pairs the rows of the test split are taken.
            y: their source embeddings ``(n, d)``; not with pairs.
        """
        check_is_fitted(self, "model_")
        if is_pairs(X):
            pairs = _opened(X)
            rows = pairs.require("test", ("source", "target"), "the score")
            found, sources = self._embed_rows(pairs, rows, "target"), self._embed_rows(pairs, rows, "source")
        else:
            if y is None:
                raise EstimatorError("The score needs the source embeddings of the same pairs.", where="y")
            found, sources = self.transform(X), self._vectors(y) - getattr(self, "offset_", 0.0)
            check_consistent_length(found, sources)
        _, identity = np.unique(sources, axis=0, return_inverse=True)
        numbers = identity.reshape(-1)
        return float((1 / ranks(found, sources, numbers, numbers)).mean())

    @property
    def _student(self) -> Encoder:
        return self.model_.encoder("target")

    @property
    def _n_features_out(self) -> int:
        return self._student.width

    def _embed_rows(self, pairs: Pairs, rows: Sequence[int], side: Side) -> Vectors:
        return self._embed(Items.of(pairs, rows, side, self.model_.encoder(side).modality), side)

    def _embed(self, items: Items, side: Side) -> Vectors:
        found: Vectors = unit(embed_items(self.model_.encoder(side), items, self.model_.device)[0])
        return found

    def _settings(self, *, configured: bool) -> Settings:
        """The parameters; ``configured``: a configuration may have a seed of its own."""
        train = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr, "device": self.device}
        seed: int | None = None
        if self.random_state is not None or not configured:
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        return Settings(
            objective=self.objective, temperature=self.temperature, teacher=self.teacher, student=self.student,
            source=self.source, target=self.target, center=self.center, train={**(self.train or {}), **train},
            out=self.out, seed=seed,
        )  # fmt: skip

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _opened(given: Any) -> Pairs:
    if isinstance(given, Pairs):
        return given
    if isinstance(given, RunConfig):
        return open_pairs(given.pairs)
    if isinstance(given, Mapping):
        return open_pairs(PairsConfig.model_validate(given.get("pairs", given)))
    if isinstance(given, str | Path) and Path(given).suffix.lower() in (".yaml", ".yml"):
        return open_pairs(load_config(Path(given)).pairs)
    return open_pairs(given)
