"""The embedding modality: vectors that another model has computed before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from crossdistill import draws
from crossdistill.errors import ConfigError, PairsError
from crossdistill.item import Item
from crossdistill.modalities.base import InputDefaults, Modality
from crossdistill.modalities.raster import colours
from crossdistill.modalities.vector_file import checked_vector, read_vector

_BAR = 0.16  # of the side


class EmbeddingAugment(BaseModel):
    """Random changes of one vector; 0 turns one off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: float = Field(0.05, ge=0, description="standard deviation, as a share of the vector's root mean square")
    dropout: float = Field(0.1, ge=0, lt=1, description="probability that a value is zero; the others grow for it")


class Embedding(Modality):
    """Vectors from NPY, JSON or CSV files in float32, ``(width,)``; for the backbones ``identity`` and ``mlp``.

    As a source with ``teacher: {backbone: identity, weights: none}`` the vectors themselves are the teacher's, so that
    a model that cannot be run here can teach.
    """

    modality: Literal["embedding"] = "embedding"
    width: int = Field(ge=2, le=1 << 16, description="number of values; every vector has to have it")
    normalise_with: Literal["none", "unit", "standardise"] = Field(
        "none",
        alias="normalise",
        description="nothing, to length 1, or each value by mean and std of the training items",
    )
    mean: tuple[float, ...] | None = Field(None, description="with standardise; default: the training items'")
    std: tuple[float, ...] | None = Field(None, description="likewise")
    augment_with: EmbeddingAugment = Field(default_factory=EmbeddingAugment, alias="augment")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is None:
                continue
            if self.normalise_with != "standardise":
                raise ValueError(f"{name} belongs to normalise: standardise")
            if len(values) != self.width:
                raise ValueError(f"{name} has {len(values)} values where the width is {self.width}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def resolve(self, defaults: InputDefaults) -> Self:
        # Only an encoder of vectors of this width knows anything about them.
        if self.normalise_with != "standardise" or len(defaults.mean) != self.width:
            return self
        return self.model_copy(update={"mean": self.mean or defaults.mean, "std": self.std or defaults.std})

    def as_defaults(self) -> InputDefaults:
        return InputDefaults(size=self.width, mean=self.mean or (0.0,), std=self.std or (1.0,), interpolation="nearest")

    def decode(self, item: Item) -> Tensor:
        try:
            return self._checked(read_vector(item))
        except PairsError as error:
            raise error.at(item) from error

    @property
    def decoding(self) -> str:
        return self.model_dump_json(include={"modality", "width", "normalise_with"})

    def from_array(self, array: Any) -> Tensor:
        """A vector ``(width,)`` or ``(1, width)``, or a list of numbers."""
        return self._checked(checked_vector(np.asarray(array)))

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        change, values = self.augment_with, batch.float()
        if change.noise:
            size = values.square().mean(dim=1, keepdim=True).sqrt()
            values = values + change.noise * size * draws.randn_like(values)
        if not change.dropout:
            return values
        kept = draws.rand(*values.shape, device=values.device) >= change.dropout
        return values * kept / (1 - change.dropout)

    def contrastive(self) -> Self:
        strong = EmbeddingAugment(noise=0.2, dropout=0.3)
        chosen = self.augment_with if "augment_with" in self.model_fields_set else strong
        return self.model_copy(update={"augment_with": chosen})

    def normalise(self, batch: Tensor) -> Tensor:
        """Raises ConfigError where ``standardise`` has nothing to take mean and deviation from."""
        values = batch.float()
        if self.normalise_with == "none":
            return values
        if self.normalise_with == "unit":
            return F.normalize(values, dim=1)
        if self.mean is None or self.std is None:
            raise ConfigError(
                "The mean and deviation of the vectors are not known.", where="embedding, normalise: standardise",
                expected="a student of random weights (which takes those of the training items), or mean and std",
                fix="set mean and std, or normalise: unit",
            )  # fmt: skip
        return (values - torch.tensor(self.mean, device=values.device)) / torch.tensor(self.std, device=values.device)

    def with_statistics(self, items: Tensor) -> Self:
        if self.normalise_with != "standardise":
            return self
        exact = items.double()
        found = exact.mean(dim=0), exact.std(dim=0, correction=0)
        # As many digits as float32 has, as a mean may be large beside its deviation; what is constant stays.
        mean, std = ([float(f"{value:.9g}") for value in each.tolist()] for each in found)
        update = {"mean": self.mean or tuple(mean), "std": self.std or tuple(value or 1.0 for value in std)}
        return self.model_copy(update=update)

    def picture(self, item: Item, side: int) -> Pillow.Image:
        return self.draw(self.decode(item), side)

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        """The values in colours, row by row, with a bar that says which is which."""
        vector = values.float().cpu().numpy()
        low, high = (float(each) for each in np.percentile(vector, (2, 98)))
        columns = math.ceil(math.sqrt(len(vector)))
        rows = math.ceil(len(vector) / columns)
        cells = np.full((rows * columns, 3), 255, dtype=np.uint8)
        cells[: len(vector)] = colours(np.clip((vector - low) / max(high - low, 1e-12), 0, 1))
        bar = max(8, round(_BAR * side))
        drawn = Pillow.new("RGB", (side, side), "white")
        grid = Pillow.fromarray(cells.reshape(rows, columns, 3))
        edge = side - bar - 1
        drawn.paste(grid.resize((edge, edge), Pillow.Resampling.NEAREST), ((side - edge) // 2, 0))
        ramp = Pillow.fromarray(colours(np.linspace(0, 1, side)[None].repeat(max(2, bar // 4), axis=0)))
        drawn.paste(ramp, (0, side - bar))
        pen, top, size = ImageDraw.Draw(drawn), side - bar + ramp.height, max(6, round(bar * 0.6))
        pen.text((1, top), f"{low:.3g}", fill="black", font_size=size)
        pen.text((side - 1, top), f"{high:.3g}", fill="black", font_size=size, anchor="ra")
        return drawn

    @classmethod
    def fake_settings(cls) -> dict[str, Any]:
        return {"width": 16}

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """A direction of the label's own with noise around it, less when ``rich``. Always an NPY file of 16 values."""
        centre = np.random.default_rng(label).normal(size=16)
        noise = np.random.default_rng(label * 1000 + variant).normal(size=16)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            np.save(stream, (centre + (0.1 if rich else 0.3) * noise).astype(np.float32), allow_pickle=False)

    def _checked(self, vector: Any) -> Tensor:
        if len(vector) != self.width:
            raise PairsError(
                "A vector has another width.", expected=f"{self.width} values", received=f"{len(vector)} values",
                fix="set width to what the files hold; all vectors of one side come from one model",
            )  # fmt: skip
        if self.normalise_with == "unit" and not vector.any():
            raise PairsError("A vector of zeros has no direction.", expected="a value that is not zero")
        return torch.from_numpy(vector)


MODALITY = Embedding
