"""What an exported encoder is given, and the steps from there to the network's input: the part of a graph before it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossdistill.item import Item
from crossdistill.modalities import Modality

INPUTS = ("auto", "read", "decoded")
"""Where a graph begins: ``read`` is an item as a program reads it, ``decoded`` what a modality has made of it."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the input after the batch.

    Attributes:
        name: for messages and the graph.
        size: None takes any.
        sample: a size to trace a free one with.
    """

    name: str
    size: int | None = None
    sample: int = 0

    def to_json(self) -> str | int:
        """Its size, or its name where that is free."""
        return self.name if self.size is None else self.size


class Entry(nn.Module):
    """The steps before a network as a module: input ``(B, ...)`` to decoded values ``(B, *modality.shape)`` in float32.

    Attributes:
        input_name: of the graph's input.
        dtype: of the input.
        meaning: of the input's values, in words.
        axes: of the input after the batch.
        inside: steps that are in the graph, in words.
        outside: steps that remain to be done before it, in words and with their numbers.
    """

    input_name: str
    dtype: torch.dtype = torch.float32
    meaning: str
    axes: tuple[Axis, ...]
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.modality = modality

    @abstractmethod
    def forward(self, items: Tensor) -> Tensor:
        """The input to what :meth:`Modality.normalise` takes."""

    @property
    def shape(self) -> list[str | int]:
        """Of the input, with names for what may vary."""
        return ["batch", *(axis.to_json() for axis in self.axes)]

    def array(self, item: Item) -> NDArray[Any]:
        """One item as the graph takes it, without the batch dimension."""
        return self.modality.read(item)

    def batch(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        """Items of one shape, stacked."""
        return torch.from_numpy(np.stack(arrays)).to(self.dtype)

    def sample(self, count: int = 2) -> Tensor:
        """An input to trace the graph with."""
        shape = (count, *(axis.size or axis.sample for axis in self.axes))
        if self.dtype == torch.uint8:
            return (torch.arange(int(np.prod(shape))) % 251).to(torch.uint8).view(shape)
        return torch.linspace(0.1, 0.9, int(np.prod(shape))).view(shape)


def is_built_in(modality: Modality) -> bool:
    """Whether it is one of crossdistill's own classes, and not one that somebody derived: that may do anything."""
    return type(modality).__module__ == f"crossdistill.modalities.{modality.modality}"


class DecodedEntry(Entry):
    """Begins where the modality has brought an item to size, length and scale; what is left is the normalisation."""

    def __init__(self, modality: Modality, why: str | None = None) -> None:
        super().__init__(modality)
        self.input_name = "decoded"
        self.compact = is_built_in(modality) and modality.modality in ("image", "sketch", "video")
        self.dtype = torch.uint8 if self.compact else torch.float32
        self.meaning = "an item as crossdistill's modality decodes it: `modality.decode(item)`"
        names = {1: ["values"], 3: ["channels", "height", "width"], 4: ["frames", "channels", "height", "width"]}
        shape = modality.shape
        known = names.get(len(shape), [f"axis_{number}" for number in range(1, len(shape) + 1)])
        self.axes = tuple(Axis(name, size) for name, size in zip(known, shape, strict=True))
        reason = f" ({why})" if why else ""
        self.outside = (f"everything up to `modality.decode(item)` of crossdistill{reason}",)

    def array(self, item: Item) -> NDArray[Any]:
        """One decoded item."""
        return self.modality.decode(item).numpy()

    def forward(self, items: Tensor) -> Tensor:
        """Decoded values in float32."""
        return items.float()
