"""The image modality: photographs, drawings, or anything that an image file holds in 8 bits a channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageOps
from pydantic import ConfigDict, Field, model_validator
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities.base import InputDefaults, Modality, channel_statistics, standardised
from crossdistill.modalities.geometry import Geometry, border_colours
from crossdistill.modalities.image_augment import ImageAugment, augment_images
from crossdistill.modalities.square import Fit, square
from crossdistill.npy import read_npy

_MOST_VALUES = 1 << 28  # of an array; Pillow has its own limit
_WHITE = (255, 255, 255, 255)
_INTERPOLATIONS = {"nearest", "bilinear", "bicubic", "lanczos"}


class Image(Modality):
    """Image files of any format that Pillow reads, as uint8 tensors ``(channels, size, size)``.

    Transparent pixels become white, palettes are expanded, EXIF orientation is applied, 16-bit grey is scaled to 8.
    """

    modality: Literal["image"] = "image"
    size: int | None = Field(None, ge=8, le=4096, description="side in pixels; default: the encoder's own")
    channels: Literal[1, 3] = Field(3, description="grey, or colour")
    fit: Fit = Field("crop", description="how a picture that is not square becomes one")
    mean: tuple[float, ...] | None = Field(None, description="default: the encoder's own")
    std: tuple[float, ...] | None = Field(None, description="default: the encoder's own")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = Field(
        None, description="of the resizing; default: the encoder's own"
    )
    augment_with: ImageAugment = Field(default_factory=ImageAugment, alias="augment")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} values where channels is {self.channels}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        if self.size is None:
            raise ValueError("the image size is still open: resolve the modality with an encoder first")
        return (self.channels, self.size, self.size)

    def resolve(self, defaults: InputDefaults) -> Self:
        mean, std = defaults.statistics(self.channels)
        interpolation = defaults.interpolation if defaults.interpolation in _INTERPOLATIONS else "bicubic"
        return self.model_copy(
            update={
                "size": self.size or defaults.size,
                "mean": self.mean or mean,
                "std": self.std or std,
                "interpolation": self.interpolation or interpolation,
            }
        )

    def as_defaults(self) -> InputDefaults:
        if self.mean is None or self.std is None or self.interpolation is None:
            raise ValueError("mean, std or interpolation is still open: resolve the modality with an encoder first")
        return InputDefaults(size=self.shape[-1], mean=self.mean, std=self.std, interpolation=self.interpolation)

    def decode(self, item: Item) -> Tensor:
        if self.channels == 3 and _is_array(item):
            with _named(item):
                values = _checked(read_npy(item, _MOST_VALUES))
            if values.ndim == 3 and values.shape[2] == 3:
                return self._squared(torch.from_numpy(values).permute(2, 0, 1))
        return self._to_tensor(self._open(item))

    def read(self, item: Item) -> NDArray[np.uint8]:
        """The picture in its own size, ``(H, W, 3)``; grey ones have three equal channels."""
        return np.array(self._open(item).convert("RGB"))

    @property
    def decoding(self) -> str:
        return self.model_dump_json(exclude={"mean", "std", "augment_with"})

    def from_array(self, array: Any) -> Tensor:
        if isinstance(array, Pillow.Image):
            return self._to_tensor(_flatten(array))
        return self._to_tensor(_of_array(np.asarray(array)))

    @property
    def geometry(self) -> Geometry | None:
        return self.augment_with.geometry_alone()

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        return augment_images(batch, self.augment_with, placement)

    def contrastive(self) -> Self:
        # SimCLR's recipe (arXiv 2002.05709, appendix A), with a gentler crop for small pictures.
        strong = ImageAugment(
            crop=(0.3, 1.0), rotate=0, translate=0, scale=(1, 1), brightness=0.6, contrast=0.6, saturation=0.6,
            hue=0.1, grayscale=0.2, blur=0.3,
        )  # fmt: skip
        chosen = self.augment_with if "augment_with" in self.model_fields_set else strong
        return self.model_copy(update={"augment_with": chosen})

    def normalise(self, batch: Tensor) -> Tensor:
        return standardised((batch.float() if batch.is_floating_point() else batch) / 255, self.mean, self.std)

    def with_statistics(self, items: Tensor) -> Self:
        mean, std = channel_statistics(items.double() / 255)
        return self.model_copy(update={"mean": self.mean or mean, "std": self.std or std})

    def facts(self, item: Item) -> dict[str, str | float]:
        if item.suffix.lower() == ".npy":
            picture = self._open(item)
            return {"width": picture.width, "height": picture.height, "mode": picture.mode, "format": "NPY"}
        try:
            with item.open("rb") as stream, Pillow.open(stream) as opened:
                return {
                    "width": opened.width, "height": opened.height, "mode": opened.mode, "format": opened.format or "",
                }  # fmt: skip
        except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
            raise PairsError("An image cannot be read.", where=item, received=error) from error

    def picture(self, item: Item, side: int) -> Pillow.Image:
        opened = self._open(item).convert("RGB")
        return ImageOps.pad(opened, (side, side), color=(255, 255, 255))

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        opened: Pillow.Image = F.to_pil_image(values.float().round().clamp(0, 255).byte())
        return opened.convert("RGB").resize((side, side), Pillow.Resampling.BILINEAR)

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """A polygon of ``label + 3`` corners: filled and coloured when ``rich``, an outline otherwise."""
        rng = np.random.default_rng(label * 1000 + variant)
        centre, radius, turn = rng.uniform(20, 28, 2), rng.uniform(12, 18), rng.uniform(0, 2 * np.pi)
        angles = turn + np.arange(label + 3) * 2 * np.pi / (label + 3)
        points = [(centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in angles]
        picture = Pillow.new("RGB", (48, 48), "white")
        hue = (37 * label + 11 * variant) % 360
        fill = f"hsl({hue}, 80%, 50%)" if rich else None
        ImageDraw.Draw(picture).polygon(points, fill=fill, outline=None if rich else "black")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)

    def _open(self, item: Item) -> Pillow.Image:
        with _named(item):
            if _is_array(item):
                return _of_array(read_npy(item, _MOST_VALUES))
            with item.open("rb") as stream, Pillow.open(stream) as opened:
                opened.load()
                return _flatten(ImageOps.exif_transpose(opened))

    def _to_tensor(self, picture: Pillow.Image) -> Tensor:
        if self.size is None or self.interpolation is None:
            raise ValueError("size or interpolation is still open: resolve the modality with an encoder first")
        mode = "L" if self.channels == 1 else "RGB"
        return self._squared(F.pil_to_tensor(picture if picture.mode == mode else picture.convert(mode)))

    def _squared(self, tensor: Tensor) -> Tensor:
        if self.size is None or self.interpolation is None:
            raise ValueError("size or interpolation is still open: resolve the modality with an encoder first")
        height, width = tensor.shape[-2:]
        if (height, width) == (self.size, self.size):
            return tensor.contiguous()
        fill = border_colours(tensor[None])[0].tolist() if self.fit == "pad" else 0.0
        return square(tensor, self.size, self.fit, self.interpolation, fill)


def _is_array(item: Item) -> bool:
    return item.suffix.lower() == ".npy"


@contextmanager
def _named(item: Item) -> Iterator[None]:
    """Turns what goes wrong with reading ``item`` into one error that names it."""
    expected = "an image file that Pillow reads (PNG, JPEG, WebP, TIFF, BMP, GIF), or an NPY file of 8-bit values"
    try:
        yield
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=expected) from error
    except PairsError as error:
        raise error.at(item) from error
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
        raise PairsError(
            "An image cannot be read.",
            where=item,
            expected=expected,
            received=str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error


def _checked(values: NDArray[Any]) -> NDArray[Any]:
    """An array of an image ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``."""
    if values.dtype != np.uint8:
        raise PairsError(
            "An image array must hold 8-bit values.",
            expected="dtype uint8, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            received=f"dtype {values.dtype}, shape {values.shape}",
            fix="scale it to 0..255 and convert it: (array * 255).round().astype('uint8')",
        )
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))) or 0 in values.shape:
        raise PairsError(
            "An image array has a shape that is none of an image.",
            expected="(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            received=values.shape,
        )
    return values


def _of_array(values: NDArray[Any]) -> Pillow.Image:
    return _flatten(Pillow.fromarray(_checked(values)))


def _flatten(picture: Pillow.Image) -> Pillow.Image:
    """The picture in mode L or RGB: transparency over white, 16 bits scaled to 8."""
    if picture.mode.startswith("I"):  # Pillow's own conversion would clip at 255 and turn everything white
        values = np.asarray(picture).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"integer image outside 0..65535 (from {values.min():.0f} to {values.max():.0f})")
        return Pillow.fromarray((values / 257).round().astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("floating-point image: its range is unknown; store it in 8 or 16 bits")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        ground = Pillow.new("RGBA", picture.size, _WHITE)
        return Pillow.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


MODALITY = Image
