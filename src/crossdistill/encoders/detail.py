"""Detail: what an encoder says of *where* things are, beside what it says of the picture as a whole.

A classifier's pooled features tell kinds of things apart and forget how this one stands: which of two hundred chairs
it is, the target's embedding cannot say if its teacher does not. An earlier feature map, pooled to a coarse grid, does
say it (spatial pyramid pooling, arXiv 1406.4729; features of several layers, arXiv 1411.5752). The two parts stand side
by side in one vector, so that bank, objectives, search and everything else take it like any other embedding.

A map of many channels would make that vector many times as wide as the pooled features. Its channels are then mixed at
random into fewer, which keeps angles and lengths nearly as they are (Johnson and Lindenstrauss, 1984; with the signs of
Achlioptas, 2003, doi 10.1016/S0022-0000(03)00025-4). Nothing is fitted for it, so that it is the same for every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from crossdistill.encoders.backbone import build_backbone
from crossdistill.encoders.encoder import Architecture, Encoder
from crossdistill.encoders.maps import Level, feature_maps, levels_of
from crossdistill.errors import ConfigError, EncoderError

AUTO: Final = "auto"  # a setting: detail where the encoder can have it
MOST_CHANNELS = 4096
_MIXING = 71  # a seed
WIDEST = 1 << 16  # of an embedding with detail: more is a grid or a level chosen by mistake


class GridConfig(BaseModel):
    """One of a backbone's feature maps on a coarse grid, beside its pooled features."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: int = Field(-2, description="which of the feature maps, -1: the last, -2: the one before")
    grid: int = Field(3, ge=1, le=16, description="cells along each side that the map is averaged to")
    channels: int = Field(
        128,
        ge=1,
        le=MOST_CHANNELS,
        description="a map of more is mixed at random into so many",
    )


class DetailConfig(GridConfig):
    """A part of the teacher's embedding that says where things are."""

    weight: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="mean length of this part, as a share of the pooled part's"
    )


class StudentDetailConfig(GridConfig):
    """A feature map that the student's head takes, too.

    Fewer channels than the teacher's: each is another column of the head, and the student learns what to put into them.
    """

    channels: int = Field(32, ge=1, le=MOST_CHANNELS, description="a map of more is mixed at random into so many")


class WithDetail(nn.Module):
    """A backbone whose features ``(B, F)`` are followed by one of its maps on a coarse grid, ``(B, F + k g g)``.

    Args:
        network: a backbone of timm's.
        level: number of the map, from the input on; ``c`` are its channels.
        grid: ``g``.
        channels: ``k``, to which the map's channels are mixed; None: its own.

    Raises:
        EncoderError: the network has no map of this number.

    Attributes:
        scale: ``()``, factor of the second part; 1 until the space is calibrated on the training pairs.
        mixing: ``(k, c)``, signs over the root of k, the same for the same k and c; None where nothing is mixed.
    """

    scale: Tensor
    mixing: Tensor | None

    def __init__(self, network: nn.Module, level: int, grid: int, channels: int | None = None) -> None:
        super().__init__()
        self.network, self.level, self.grid = network, level, grid
        maps: Any = getattr(network, "feature_info", ())
        if not 0 <= level < len(maps):
            raise EncoderError("The backbone has no feature map of this number.", where=type(network).__name__,
                               expected=f"0 to {len(maps) - 1}" if len(maps) else "a backbone of timm with maps",
                               received=level)  # fmt: skip
        own = int(maps[level]["num_chs"])
        self.width = (channels or own) * grid * grid
        self.register_buffer("scale", torch.ones(()))
        mixing = None
        if channels is not None:  # whole numbers are drawn alike on every machine
            draws = torch.randint(2, (channels, own), generator=torch.Generator().manual_seed(_MIXING), device="cpu")
            mixing = (2.0 * draws - 1) / channels**0.5
        self.register_buffer("mixing", mixing)

    def forward(self, items: Tensor) -> Tensor:
        """Normalised items ``(B, C, H, W)`` to ``(B, F + k g g)``: the grid channel by channel, row by row."""
        return self.with_maps(items, [])[0]

    def with_maps(self, items: Tensor, indices: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The same, and the maps ``(B, c, h, w)`` of some levels, from one pass."""
        network: Any = self.network
        wanted = sorted({self.level, *indices})
        last, maps = network.forward_intermediates(items, indices=wanted, output_fmt="NCHW")
        by_level = dict(zip(wanted, maps, strict=True))
        pooled: Tensor = network.forward_head(last)
        cells = nn.functional.adaptive_avg_pool2d(by_level[self.level], self.grid).flatten(2)
        if self.mixing is not None:
            cells = self.mixing.to(cells.dtype) @ cells
        return torch.cat([pooled, cells.flatten(1) * self.scale], dim=1), [by_level[index] for index in indices]

    @property
    def feature_info(self) -> Any:
        """Of the backbone."""
        return self.network.feature_info

    def forward_intermediates(self, *args: Any, **options: Any) -> Any:
        """Of the backbone: its maps are what they are without detail."""
        network: Any = self.network
        return network.forward_intermediates(*args, **options)

    def forward_head(self, *args: Any, **options: Any) -> Any:
        """Of the backbone."""
        network: Any = self.network
        return network.forward_head(*args, **options)


def features_and_map(backbone: nn.Module, items: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Normalised items ``(B, C, H, W)`` to features ``(B, F)``, as the backbone gives them, and one map on the way."""
    if isinstance(backbone, WithDetail):
        features, maps = backbone.with_maps(items, [level.index])
        return features, maps[0]
    network: Any = backbone
    last, maps = network.forward_intermediates(items, indices=[level.index], output_fmt="NCHW")
    pooled: Tensor = network.forward_head(last)
    return pooled, maps[0]


def with_detail(encoder: Encoder, detail: GridConfig | Literal["auto"] | None, role: str = "teacher") -> Encoder:
    """The encoder with detail, not calibrated yet; itself where ``detail`` is None or it has this detail already.

    Args:
        encoder: without a head, where it is to be given detail.
        detail: which; ``auto``: the usual one where the encoder can have it, see :func:`can_have`.
        role: ``teacher`` or ``student``, for messages.

    Raises:
        ConfigError: it has no feature maps, not this one, or another detail already; or the embedding would be wider
            than 65,536.
    """
    if isinstance(detail, str):
        usual = DetailConfig() if role == "teacher" else StudentDetailConfig()
        detail = usual if can_have(encoder, usual) else None
    if detail is None:
        return encoder
    where = f"{role}.detail"
    level = _level(encoder, detail, where)
    architecture = encoder.architecture
    channels = detail.channels if detail.channels < level.channels else None
    has = (architecture.detail_level, architecture.detail_grid, architecture.detail_channels)
    if has == (level.index, detail.grid, channels):
        return encoder
    if has[0] is not None or architecture.head != "none":
        raise ConfigError(
            f"This {role} ends in a space of its own, to which no detail can be added.", where=where,
            expected=f"a {role} without a head, and without another detail",
            received=f"head {architecture.head}" if has[0] is None else f"detail of level {has[0]}, grid {has[1]}",
            fix=f"leave {where} out",
        )  # fmt: skip
    width = architecture.features + (channels or level.channels) * detail.grid**2
    if width > WIDEST:
        raise ConfigError(
            "The embedding would be too wide.", where=f"{where}.grid", received=f"{width:,} values an item",
            expected=f"at most {WIDEST:,}", fix="take a smaller grid, or fewer channels",
        )  # fmt: skip
    network = WithDetail(encoder.backbone, level.index, detail.grid, channels).train(encoder.training)
    wider = replace(
        architecture, features=width, width=width, detail_level=level.index, detail_grid=detail.grid,
        detail_channels=channels,
    )  # fmt: skip
    return Encoder(network, encoder.head, encoder.modality, wider, encoder.origin).train(encoder.training)


def can_have(encoder: Encoder, detail: GridConfig) -> bool:
    """Whether detail can be added that tells anything: the map has as many places as the grid along both sides.

    Not to what has a head or detail already, nor to a module of the user's own, which only the user can build again.
    """
    about = encoder.architecture
    if about.head != "none" or about.detail_level is not None or about.backbone.startswith("python:"):
        return False
    try:
        levels = levels_of(encoder, anywhere=True)
    except EncoderError:
        return False
    if not -len(levels) <= detail.level < len(levels):
        return False
    items = torch.zeros(1, *encoder.modality.shape[-3:])
    training = encoder.training
    with torch.no_grad():
        found = feature_maps(encoder.backbone.eval(), items, [levels[detail.level]])[0]
    encoder.train(training)
    return min(found.shape[-2:]) >= detail.grid


def _level(encoder: Encoder, detail: GridConfig, where: str) -> Level:
    """The map that is meant."""
    try:
        levels = levels_of(encoder, anywhere=True)
    except EncoderError as error:
        raise ConfigError(
            "Detail needs an encoder with feature maps.", where=where,
            expected=error.details.get("expected"), received=error.details.get("received"),
            fix=f"leave {where} out",
        ) from error  # fmt: skip
    if not -len(levels) <= detail.level < len(levels):
        raise ConfigError(
            "There is no feature map of this number.", where=f"{where}.level", received=detail.level,
            expected=f"{-len(levels)} to {len(levels) - 1}, as {encoder.architecture.backbone} has {len(levels)} maps",
        )  # fmt: skip
    return levels[detail.level]


def build_network(architecture: Architecture, shape: tuple[int, ...]) -> nn.Module:
    """The backbone of an architecture for items of a shape, detail included, before its weights are loaded.

    Raises:
        EncoderError: see :func:`~crossdistill.encoders.backbone.build_backbone`, or there is no map of this number.
    """
    return around(build_backbone(architecture.backbone, shape, patch_size=architecture.patch_size), architecture)


def around(network: nn.Module, architecture: Architecture) -> nn.Module:
    """A network with the detail that an architecture has; itself where that has none, or the network has it already."""
    if architecture.detail_level is None or architecture.detail_grid is None or isinstance(network, WithDetail):
        return network
    return WithDetail(network, architecture.detail_level, architecture.detail_grid, architecture.detail_channels)


def detail_of(architecture: Architecture) -> GridConfig | None:
    """The detail that an architecture has."""
    if architecture.detail_level is None or architecture.detail_grid is None:
        return None
    channels = architecture.detail_channels or MOST_CHANNELS
    return GridConfig(level=architecture.detail_level, grid=architecture.detail_grid, channels=channels)


def plain_backbone(encoder: Encoder) -> nn.Module:
    """The backbone without any detail beside it."""
    return without_detail(encoder.backbone)


def without_detail(backbone: nn.Module) -> nn.Module:
    """The network itself, where a backbone has detail beside it."""
    return backbone.network if isinstance(backbone, WithDetail) else backbone


def calibrate(encoder: Encoder, mean: Tensor, scale: float) -> Tensor | None:
    """Moves the space of an encoder, in place.

    Args:
        encoder: with an offset of zero and, where it has detail, a scale of one.
        mean: ``(d,)`` of its embeddings as they are, which becomes the origin.
        scale: factor of the part with the detail; 1 where there is none.

    Returns:
        The factor of each value, ``(d,)``: an embedding is now ``(what it was - mean) * factor``; None where all are 1.
    """
    factor = None
    if isinstance(encoder.backbone, WithDetail):
        encoder.backbone.scale.fill_(scale)
        factor = scaling(encoder)
    encoder.offset.copy_(mean if factor is None else mean * factor)
    return factor


def scaling(encoder: Encoder) -> Tensor | None:
    """The factor of each value of a teacher's embedding, ``(d,)``; None where all are 1."""
    if not isinstance(encoder.backbone, WithDetail):
        return None
    factor = torch.ones(encoder.width)
    factor[encoder.width - detail_width(encoder) :] = encoder.backbone.scale.cpu()
    return factor


def detail_width(encoder: Encoder) -> int:
    """How many values of an embedding, its last ones, are detail."""
    return encoder.backbone.width if isinstance(encoder.backbone, WithDetail) else 0


def uncalibrated(encoder: Encoder) -> Encoder:
    """The encoder, in place, with its embeddings as a bank holds them: not centred, and detail as it comes."""
    encoder.offset.zero_()
    if isinstance(encoder.backbone, WithDetail):
        encoder.backbone.scale.fill_(1)
    return encoder
