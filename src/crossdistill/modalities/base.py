"""What a modality is: how a file becomes a tensor, and everything that depends on the kind of data.

A modality is also the *preprocessing* of an encoder: the resolved object (nothing left open) is written beside the
encoder's weights and read back with them, so an encoder can never meet input that was prepared in another way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from crossdistill.item import Item
from crossdistill.modalities.geometry import Geometry

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class InputDefaults:
    """What an encoder was trained with; fills whatever the user's modality section leaves open."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of ``channels`` channels: these, or where they are other channels the average of all."""
        if len(self.mean) == channels:
            return self.mean, self.std
        return (sum(self.mean) / len(self.mean),) * channels, (sum(self.std) / len(self.std),) * channels


def standardised(values: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Values ``(B, C, H, W)`` minus the channels' mean, over their deviation; ValueError while these are open."""
    if mean is None or std is None:
        raise ValueError("mean and std are still open: resolve the modality with an encoder first")
    shift, spread = (torch.tensor(each, device=values.device).view(-1, 1, 1) for each in (mean, std))
    return (values - shift).div_(spread)


def channel_statistics(values: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of ``(N, C, H, W)``, in four digits."""
    exact = values.double()
    mean = tuple(round(float(value), 4) for value in exact.mean(dim=(0, 2, 3)))
    # A constant channel would divide by zero; a quarter of the range is a typical deviation.
    return mean, tuple(round(float(value), 4) or 0.25 for value in exact.std(dim=(0, 2, 3)))


class Modality(BaseModel, ABC):
    """One kind of data. Subclasses live in one file each, which is named after the modality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: str

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one decoded item, without the batch dimension. Raises ValueError while unresolved."""

    @abstractmethod
    def resolve(self, defaults: InputDefaults) -> Self:
        """The same modality with every open setting taken from ``defaults``."""

    @abstractmethod
    def as_defaults(self) -> InputDefaults:
        """A resolved modality's settings as defaults for another one: an encoder's preprocessing handed on."""

    @abstractmethod
    def decode(self, item: Item) -> Tensor:
        """Reads one item, such as a path, into a tensor of ``shape`` in its compact form (uint8 for images).

        Raises:
            PairsError: it is missing, unreadable or truncated; the message names it.
        """

    def read(self, item: Item) -> NDArray[Any]:
        """One item as an array *before* it is brought to size, length and scale: what an exported encoder is given.

        By default what :meth:`decode` makes of it, as nothing is known about the steps before.

        Raises:
            PairsError: as for :meth:`decode`.
        """
        return self.decode(item).numpy()

    @property
    @abstractmethod
    def decoding(self) -> str:
        """What decides the result of :meth:`decode`: two modalities of equal ``decoding`` give equal tensors."""

    @abstractmethod
    def from_array(self, array: Any) -> Tensor:
        """The same as :meth:`decode` for an item that is already in memory (an array, tensor or picture)."""

    @property
    def geometry(self) -> Geometry | None:
        """How augmentation may change where things are; None for what lies on no grid (a sound, a vector)."""
        return None

    @abstractmethod
    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        """Random variants of decoded items ``(B, *shape)``, each item changed in its own way, on their device.

        With ``placement`` ``(B, 2, 3)``, see :func:`~crossdistill.modalities.geometry.draw_placements`, where things go
        is given, and the rest is drawn; only modalities with a :attr:`geometry` take one. Draws from torch's global
        generators. The answer is float32 on the scale of the decoded values, so that :meth:`normalise` takes either.
        """

    @abstractmethod
    def contrastive(self) -> Self:
        """The same modality with the strong augmentation that two-view contrastive pretraining needs."""

    @abstractmethod
    def normalise(self, batch: Tensor) -> Tensor:
        """Decoded or augmented items ``(B, *shape)`` as the float32 input of an encoder, ``(B, *shape)``."""

    @abstractmethod
    def with_statistics(self, items: Tensor) -> Self:
        """The same modality, normalising by the mean and deviation of the decoded ``items`` ``(N, *shape)``."""

    @abstractmethod
    def picture(self, item: Item, side: int) -> Image.Image:
        """How an item is drawn in a report: a picture of ``side`` x ``side`` pixels."""

    @abstractmethod
    def draw(self, values: Tensor, side: int) -> Image.Image:
        """How one decoded or augmented item ``(*shape)`` is drawn, as the encoder sees it."""

    def facts(self, item: Item) -> dict[str, str | float]:
        """What ``crossdistill audit`` compares between items, such as their size; nothing by default.

        Some names have a meaning of their own: ``missing``, ``saturated`` and ``clipped`` are shares of an item's
        values, ``median`` is in the modality's unit, ``loudness`` in decibels relative to full scale.

        Raises:
            PairsError: it is missing or unreadable.
        """
        return {}

    def sound(self, item: Item) -> bytes | None:
        """The item as an OGG file for a report's player; None for what cannot be heard."""
        return None

    @classmethod
    def fake_settings(cls) -> dict[str, Any]:
        """Settings that :meth:`write_fake`'s samples need, beside the name; none by default."""
        return {}

    @classmethod
    @abstractmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """Writes a tiny sample for tests: ``label`` decides what it shows, ``variant`` how, ``rich`` the detail."""
