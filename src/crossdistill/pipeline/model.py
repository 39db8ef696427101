"""A finished run, or a published model, as an object: embeds items of either modality into the shared space."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from crossdistill.encoders import Encoder, has_encoder, load_encoder
from crossdistill.errors import ConfigError, RunFolderError
from crossdistill.pairs import Side
from crossdistill.pipeline.folder import RunFolder, open_run
from crossdistill.pipeline.published import is_published, read_index
from crossdistill.training.loop import choose_device

_BATCH = 64


class CrossModalModel:
    """Teacher and student of a run; see :func:`load`.

    Attributes:
        folder: of the run, or of the published model: ``folder.student`` and ``folder.teacher`` are there in both.
        device: where it computes.
        facts: what is known of the run behind it, where the folder does not last; else None.
    """

    def __init__(self, folder: RunFolder, encoders: dict[Side, Encoder], device: torch.device) -> None:
        self.folder = folder
        self.device = device
        self.facts: Any = None
        self._encoders = {side: encoder.to(device).eval() for side, encoder in encoders.items()}

    @property
    def width(self) -> int:
        """Width ``d`` of the shared space."""
        return self.encoder("target").width

    def has(self, modality: Side) -> bool:
        """Whether there is an encoder of that side: a run may keep no copy of its teacher."""
        return modality in self._encoders

    def encoder(self, modality: Side) -> Encoder:
        """The encoder of the source (teacher) or target (student) modality.

        Raises:
            ConfigError: ``modality`` is neither.
            RunFolderError: the run keeps no copy of its teacher.
        """
        if modality not in ("source", "target"):
            raise ConfigError("Unknown modality.", expected="source or target", received=repr(modality))
        if modality not in self._encoders:
            raise RunFolderError(
                "The run keeps no copy of its teacher, so source items cannot be embedded.",
                where=self.folder.root,
                fix="run with teacher.save=true, or pass the teacher to crossdistill.load",
            )
        return self._encoders[modality]

    def embed(self, items: Iterable[Any], modality: Side = "target") -> NDArray[np.float32]:
        """Embeds items into the shared space.

        Args:
            items: paths, any :class:`~crossdistill.item.Item` (such as :class:`~crossdistill.item.MemoryItem`, bytes
                with a name), arrays (for images uint8 ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``) or
                Pillow images, in any mixture. One array of several items ``(N, H, W, C)`` is taken item by item.
            modality: which encoder to use.

        Returns:
            ``(N, d)`` float32, unit length: the dot product of two of them is their cosine similarity.

        Raises:
            PairsError: an item cannot be read.
        """
        encoder = self.encoder(modality)
        if isinstance(items, (str, Path)):
            items = [items]
        found: list[NDArray[np.float32]] = []
        batch: list[torch.Tensor] = []
        for item in items:
            batch.append(self._decoded(encoder, item))
            if len(batch) == _BATCH:
                found.append(self._embed_batch(encoder, batch))
                batch = []
        if batch:
            found.append(self._embed_batch(encoder, batch))
        return np.concatenate(found) if found else np.empty((0, encoder.width), dtype=np.float32)

    def remember_run(self) -> None:
        """Keeps what the run's folder says of it for :meth:`save_pretrained`, before that folder goes."""
        self.facts = _hub().facts_of(self.folder)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Writes encoders and model card in the layout of the Hugging Face Hub.

        See :func:`crossdistill.hub.save_pretrained` for the options; returns the folder.
        """
        return cast(Path, _hub().save_pretrained(self, folder, **options))

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, **options: Any) -> CrossModalModel:
        """Opens a published model, see :func:`crossdistill.from_pretrained`."""
        return cast(CrossModalModel, _hub().from_pretrained(name_or_folder, **options))

    @staticmethod
    def _decoded(encoder: Encoder, item: Any) -> torch.Tensor:
        if isinstance(item, (str, Path)):
            return encoder.modality.decode(Path(item))
        if callable(getattr(item, "read_bytes", None)):  # an Item; arrays and pictures have none
            return encoder.modality.decode(item)
        return encoder.modality.from_array(item)

    def _embed_batch(self, encoder: Encoder, batch: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        with torch.no_grad():
            embedded = encoder(encoder.modality.normalise(torch.stack(list(batch)).to(self.device)))
            unit = torch.nn.functional.normalize(embedded.float(), dim=1)
        vectors: NDArray[np.float32] = unit.cpu().numpy()
        return vectors


def load(
    run: str | Path, *, teacher: Encoder | None = None, student: Encoder | None = None, device: str = "auto"
) -> CrossModalModel:
    """Opens a finished run for use.

    Args:
        run: the run folder, or the folder of a published model.
        teacher: for runs whose teacher was a module of your own: an encoder of the same architecture.
        student: likewise.
        device: ``auto``, ``cpu``, ``cuda``, ...

    Raises:
        RunFolderError: it is no run folder, or its student is not there yet.
    """
    sides: set[str] = {"target", "source"}
    if is_published(Path(run)):
        # What else lies there, such as a teacher that an earlier model left, is no part of this one.
        sides = set(read_index(Path(run))["encoders"])
        folder = RunFolder(Path(run))
    else:
        folder, _ = open_run(Path(run))
    if not has_encoder(folder.student):
        raise RunFolderError(
            "The run has no student yet.",
            where=folder.root,
            fix="run its configuration again: it goes on where it stopped",
        )
    encoders: dict[Side, Encoder] = {"target": _open(folder.student, student)}
    if "source" in sides and has_encoder(folder.teacher):
        encoders["source"] = _open(folder.teacher, teacher)
    elif teacher is not None:
        encoders["source"] = teacher
    return CrossModalModel(folder, encoders, choose_device(device))


def _hub() -> Any:
    """The room that publishes models. It builds upon this one, so it is found when it is asked for."""
    return importlib.import_module("crossdistill.hub")


def _open(place: Path, given: Encoder | None) -> Encoder:
    if given is None:
        return load_encoder(place)
    return load_encoder(place, given.backbone, given.head)
