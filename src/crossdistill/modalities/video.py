"""The video modality: clips as a few frames, evenly spaced in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageOps
from pydantic import Field
from torch import Tensor

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities.image import Image
from crossdistill.modalities.image_augment import ImageAugment, augment_images
from crossdistill.modalities.video_file import pyav, sampled_frames
from crossdistill.npy import read_npy

_MOST_VALUES = 1 << 28  # of an array
_SHOWN = 4  # frames of a picture
_BETWEEN = "#d5dbe1"


class Video(Image):
    """Video files (mp4, mov, mkv, webm, avi, gif) as uint8 tensors ``(frames, channels, size, size)``.

    The frames are those in the middle of as many equal parts of the clip. A backbone for pictures embeds each and its
    features are averaged; a module of your own is given whole clips.
    """

    modality: Literal["video"] = "video"  # type: ignore[assignment]  # several images, by another name
    frames: int = Field(8, ge=1, le=256, description="how many, evenly spaced in time")
    seconds: float | None = Field(None, gt=0, le=3600, description="of the clip, from its start; default: all of it")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, *super().shape)

    def decode(self, item: Item) -> Tensor:
        return torch.stack([self._to_tensor(frame) for frame in self._frames(item, self.frames)])

    def read(self, item: Item) -> NDArray[np.uint8]:
        """The chosen frames in their own size, ``(frames, H, W, 3)``."""
        return np.stack([np.asarray(frame.convert("RGB")) for frame in self._frames(item, self.frames)])

    def from_array(self, array: Any) -> Tensor:
        """Frames ``(T, H, W)``, ``(T, H, W, 1)`` or ``(T, H, W, 3)`` of 8 bits, or a list of pictures of one size."""
        return torch.stack([self._to_tensor(frame) for frame in self._of_array(np.asarray(array), self.frames)])

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        """All frames of a clip are changed alike."""
        change, (count, frames, channels, height, width) = self.augment_with, batch.shape
        moving = ImageAugment(**change.geometry_alone().model_dump(), brightness=0, contrast=0, blur=change.blur)
        colouring = change.model_copy(
            update={"crop": None, "flip": 0, "rotate": 0, "translate": 0, "scale": (1, 1), "blur": 0}
        )
        # As channels of one image all frames move alike; below each other in one image they change colour alike.
        moved = augment_images(batch.flatten(1, 2), moving, placement)
        columns = moved.view(count, frames, channels, height, width).transpose(1, 2).flatten(2, 3)
        coloured = augment_images(columns, colouring)
        return coloured.view(count, channels, frames, height, width).transpose(1, 2)

    def with_statistics(self, items: Tensor) -> Self:
        return super().with_statistics(items.flatten(0, 1))

    def facts(self, item: Item) -> dict[str, str | float]:
        first = next(self._frames(item, 1))
        return {"width": first.width, "height": first.height, "format": item.suffix.lower().removeprefix(".").upper()}

    def picture(self, item: Item, side: int) -> Pillow.Image:
        """Four frames in the order of reading."""
        return _sheet(self._frames(item, _SHOWN), side)

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        chosen = [values[index] for index in _evenly(len(values), _SHOWN)]
        return _sheet((super(Video, self).draw(frame, side // 2) for frame in chosen), side)

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """A polygon of ``label + 3`` corners that crosses the picture; coloured when ``rich``. Always an MP4 file."""
        rng = np.random.default_rng(label * 1000 + variant)
        turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(20, 28)
        angles = turn + np.arange(label + 3) * 2 * np.pi / (label + 3)
        fill = f"hsl({(37 * label + 11 * variant) % 360}, 80%, 50%)" if rich else None
        av = pyav(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=6)
            stream.width = stream.height = 48
            for across in np.linspace(14, 34, 12):
                picture = Pillow.new("RGB", (48, 48), "white")
                points = [(across + 13 * np.cos(angle), height + 13 * np.sin(angle)) for angle in angles]
                ImageDraw.Draw(picture).polygon(points, fill=fill, outline=None if rich else "black", width=2)
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())

    def _frames(self, item: Item, count: int) -> Iterator[Pillow.Image]:
        """``count`` frames of a file, one after the other."""
        if item.suffix.lower() != ".npy":
            yield from map(Pillow.fromarray, sampled_frames(item, count, self.seconds))
            return
        expected = "an NPY file of 8-bit values (T, H, W) or (T, H, W, 3)"
        try:
            yield from self._of_array(read_npy(item, _MOST_VALUES), count)
        except FileNotFoundError as error:
            raise PairsError("A file is missing.", where=item, expected=expected) from error
        except PairsError as error:
            raise error.at(item) from error
        except (OSError, ValueError) as error:
            raise PairsError("A video cannot be read.", where=item, expected=expected, received=error) from error

    def _of_array(self, frames: NDArray[Any], count: int) -> Iterator[Pillow.Image]:
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or 0 in frames.shape or frames.shape[3:] not in (
            (), (1,), (3,),
        ):  # fmt: skip
            raise PairsError(
                "An array holds no video.", expected="8-bit values (T, H, W), (T, H, W, 1) or (T, H, W, 3)",
                received=f"{frames.dtype}, shape {frames.shape}",
            )  # fmt: skip
        if self.seconds is not None:
            raise PairsError(
                "An array says nothing about time.", expected="a video file, as 'seconds' is set", received="an array",
                fix="cut the array, and leave seconds out",
            )  # fmt: skip
        for index in _evenly(len(frames), count):
            yield Pillow.fromarray(frames[index].squeeze(2) if frames.shape[3:] == (1,) else frames[index])


def _evenly(length: int, count: int) -> list[int]:
    """The indices in the middle of ``count`` equal parts."""
    return [int((number + 0.5) * length / count) for number in range(count)]


def _sheet(frames: Iterable[Pillow.Image], side: int) -> Pillow.Image:
    """Four frames, two by two."""
    edge = (side - 2) // 2
    sheet = Pillow.new("RGB", (side, side), _BETWEEN)
    for number, frame in enumerate(frames):
        tile = ImageOps.pad(frame.convert("RGB"), (edge, edge), color=(255, 255, 255))
        sheet.paste(tile, (number % 2 * (side - edge), number // 2 * (side - edge)))
    return sheet


MODALITY = Video
