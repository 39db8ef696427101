"""Pictures and clips as a program reads them, in any size: grey values, resizing and fitting are in the graph."""

from __future__ import annotations

import torch
from torch import Tensor

from crossdistill.deploy.entry import Axis, Entry
from crossdistill.deploy.resize import resize_pixels
from crossdistill.modalities.image import Image
from crossdistill.modalities.sketch import Sketch
from crossdistill.modalities.video import Video

_GREY = (19595.0, 38470.0, 7471.0)  # Pillow's weights of red, green and blue, of 65536 (ITU-R BT.601)
_FITS = {
    "crop": "the shorter side becomes {0}, and the middle is kept",
    "pad": "the longer side becomes {0}, and the rest is filled with the median colour of the picture's border",
    "squash": "both sides become {0}",
}


class PictureEntry(Entry):
    """Pictures ``(B, H, W, 3)``, or clips ``(B, frames, H, W, 3)``, of 8 bits in red, green and blue."""

    dtype = torch.uint8

    def __init__(self, modality: Image) -> None:
        super().__init__(modality)
        if modality.size is None or modality.interpolation is None:
            raise ValueError("size or interpolation is still open: resolve the modality with an encoder first")
        self.side, self.interpolation = modality.size, modality.interpolation
        self.fit, self.channels = modality.fit, modality.channels
        self.input_name = "pixels"
        frames = (Axis("frames", modality.frames),) if isinstance(modality, Video) else ()
        self.axes = (*frames, Axis("height", None, 41), Axis("width", None, 57), Axis("colours", 3))
        self.meaning = "8-bit red, green and blue, 0..255; a grey picture has three equal channels"
        self.inside = (
            *(("grey as (19595 R + 38470 G + 7471 B + 32768) / 65536, rounded down",) if self.channels == 1 else ()),
            f"resizing ({self.interpolation}, antialiased, rounded to whole numbers): "
            + _FITS[self.fit].format(self.side),
            "division by 255, then minus the mean, over the deviation",
        )
        self.outside = tuple(_reading(modality))

    def forward(self, items: Tensor) -> Tensor:
        """Whole numbers 0..255, ``(B, C, side, side)``, or ``(B, frames, C, side, side)``."""
        pictures = items.flatten(0, 1) if items.ndim == 5 else items
        pixels = pictures.permute(0, 3, 1, 2).float()
        if self.channels == 1:
            parts = pixels * torch.tensor(_GREY).view(-1, 1, 1)  # whole numbers below 2^24: exact in any order
            pixels = torch.floor((parts.sum(dim=1, keepdim=True) + 32768.0) / 65536.0)
        fill = _border(pixels) if self.fit == "pad" else None
        found = resize_pixels(pixels, self.side, self.fit, self.interpolation, fill)
        return torch.unflatten(found, 0, (-1, items.shape[1])) if items.ndim == 5 else found


def _border(pixels: Tensor) -> Tensor:
    """The lower median of the outermost pixels ``(B, C)``, as ``geometry.border_colours`` has it."""
    edge = torch.cat([pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]], dim=2)
    middle = (edge.shape[2] - 1) // 2
    return torch.sort(edge, dim=2).values[:, :, middle]


def _reading(modality: Image) -> list[str]:
    if isinstance(modality, Video):
        steps = [f"decoding of the file, and of its frames the {modality.frames} in the middle of as many equal parts"]
        if modality.seconds is not None:
            steps.append(f"of the first {modality.seconds:g} seconds alone")
        return [*steps, "conversion to 8-bit RGB"]
    steps = [
        "decoding of the file; the orientation of EXIF is applied, palettes are expanded",
        "transparency over white",
        "16-bit grey values divided by 257 and rounded",
    ]
    if isinstance(modality, Sketch):
        steps.append(
            "vector drawings as pictures of 512 pixels; strokes in black on white, "
            f"{modality.stroke:g} of the side wide, with a margin of {modality.margin:g}"
        )
    return steps
