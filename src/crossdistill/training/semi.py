"""Items without a partner beside the pairs: what a step does with a second batch, of unpaired target items."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from crossdistill import ranks
from crossdistill.draws import share_of_batch
from crossdistill.errors import ConfigError
from crossdistill.objectives import InfoNCE, Objective, TeacherColumns
from crossdistill.objectives.paws import PAWS
from crossdistill.pairs.items import Items
from crossdistill.training.batches import Beside
from crossdistill.training.config import TrainConfig

_TEMPERATURES = {"contrastive": 0.2, "neighbours": 0.1}  # as published


class SemiConfig(BaseModel):
    """The ``semi:`` section: few pairs beside many items without a partner."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training pairs that stay pairs, by whole groups; others are unpaired",
    )
    seed: int = Field(0, ge=0, description="of the draw of these groups")
    term: Literal["contrastive", "neighbours"] | None = Field(
        None, description="what is asked of unpaired target items; nothing by default"
    )
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="of the term, beside the objective on the pairs")
    batch_size: int | None = Field(
        None, ge=2, description="unpaired items a step, over all processes together; default: as many as pairs"
    )
    temperature: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="of the term; default: 0.2 for contrastive, 0.1 for neighbours"
    )
    sharpen: float = Field(
        0.25, gt=0, le=1, description="neighbours: temperature at which one view's neighbours are the other's target"
    )
    spread: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="neighbours: weight of the entropy of a batch's mean neighbours"
    )

    def build(self) -> Objective:
        """The term: of first and second views' embeddings ``(u, d)`` each, to a scalar."""
        assert self.term is not None
        temperature = self.temperature or _TEMPERATURES[self.term]
        if self.term == "contrastive":
            return InfoNCE(temperature)
        return PAWS(temperature, self.sharpen, self.spread)

    def beside(self, count: int, config: TrainConfig) -> Beside:
        """The second batch, of ``count`` unpaired items."""
        return Beside(count, self.batch_size or config.batch_size)


class Unpaired:
    """The term of unpaired target items in a training.

    Args:
        settings: with a term.
        count: of unpaired items, which follow those of the pairs in ``items``.
        items: target sides of the pairs, then the unpaired ones.
        columns: the teacher's embeddings of source items, paired or not, each once.
        config: of the training.

    Attributes:
        beside: the second batches.
        last: the term's value in the last batch.

    Raises:
        ConfigError: there are more processes than unpaired items in a batch.
    """

    def __init__(
        self, settings: SemiConfig, count: int, items: Items, columns: TeacherColumns, config: TrainConfig
    ) -> None:
        self.beside = settings.beside(count, config)
        self.weight = settings.weight
        self.last: Tensor | None = None
        self._modality = items.modality.contrastive()
        self._term = settings.build()
        self._term.prepare(columns)
        if ranks.world() > self.beside.size:
            raise ConfigError(
                "There are more processes than unpaired items in a batch.", where="semi.batch_size",
                expected=f"{ranks.world()} items or more", received=self.beside.size,
            )  # fmt: skip

    def views(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """Two views ``(u, *shape)`` each of decoded unpaired items: this rank's part of a batch."""
        part = self.beside.part
        with share_of_batch(part.start, len(part), self.beside.size):
            first, second = (self._modality.normalise(self._modality.augment(decoded)) for _ in range(2))
        return first, second

    def loss(self, embedded: Tensor) -> Tensor:
        """First, then second views' embeddings ``(2u, d)`` to the weighted term."""
        first, second = embedded.chunk(2)
        value: Tensor = self._term(first, second)
        self.last = value.detach()
        return self.weight * value

    def measure(self) -> dict[str, float]:
        """For the log of an epoch: the term in its last batch, without its weight."""
        return {} if self.last is None else {"semi": round(float(self.last), 6)}
