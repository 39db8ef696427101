"""Measured values on a grid, in any size: encoding, resizing and the filling of missing values are in the graph."""

from __future__ import annotations

import torch
from torch import Tensor

from crossdistill.deploy.entry import Axis, Entry
from crossdistill.deploy.resize import resize_values
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.multispectral import Multispectral
from crossdistill.modalities.raster import Raster
from crossdistill.modalities.thermal import Thermal

_FAR = 1e9  # squared pixels, beyond any distance in a picture
_FITS = {
    "crop": "the shorter side becomes {0}, and the middle is kept",
    "pad": "the longer side becomes {0}, and the rest counts as missing",
    "squash": "both sides become {0}",
}


class RasterEntry(Entry):
    """Values ``(B, H, W, C)`` in the modality's unit, NaN where nothing was measured, of any height and width."""

    def __init__(self, modality: Raster) -> None:
        super().__init__(modality)
        if modality.size is None:
            raise ValueError("the size is still open: resolve the modality with an encoder first")
        self.side, self.fit = modality.size, modality.fit
        self.input_name = "values"
        self.axes = (Axis("height", None, 41), Axis("width", None, 57), Axis("channels", modality.channels))
        self.meaning, encoding, self.outside = _described(modality)
        self.inside = (
            encoding,
            "resizing (bilinear, antialiased) in which missing values do not take part: "
            + _FITS[self.fit].format(self.side),
            "filling of what is missing then by the nearest measured pixel",
            "minus the mean, over the deviation",
        )

    def forward(self, items: Tensor) -> Tensor:
        """Encoded values ``(B, C, side, side)`` in 0..1; NaN for an item without any measured pixel."""
        values = items.permute(0, 3, 1, 2)
        valid = torch.isfinite(values).all(dim=1, keepdim=True)
        if isinstance(self.modality, Depth):
            valid = valid & (values > 0)
        known = valid.float()
        encoded = self._encode(torch.where(valid, values, torch.ones_like(values)), valid) * known
        resized = resize_values(torch.cat([encoded, known], dim=1), self.side, self.fit)
        weight = resized[:, -1:].clamp(0, 1)
        found = (resized[:, :-1] / weight.clamp(min=1e-3)).clamp(0, 1)
        return filled(found, weight[:, 0] >= 0.5).half().float()

    def _encode(self, values: Tensor, valid: Tensor) -> Tensor:
        modality = self.modality
        if isinstance(modality, Depth):
            near, far = torch.tensor(modality.near), torch.tensor(modality.far)
            if modality.per_image:
                near, far = percentiles(values, valid, (2.0, 98.0))
                far = torch.maximum(far, near * 1.001)
            metres = torch.minimum(torch.maximum(values, near), far)
            if modality.encoding == "inverse":
                level = (1 / metres - 1 / far) / (1 / near - 1 / far)
            elif modality.encoding == "log":
                level = torch.log(metres / near) / torch.log(far / near)
            else:
                level = (metres - near) / (far - near)
        elif isinstance(modality, Thermal):
            if modality.low is None or modality.high is None:
                low, high = percentiles(values, valid, (1.0, 99.0))
            else:
                low, high = torch.tensor(modality.low), torch.tensor(modality.high)
            level = (values - low) / (high - low).clamp(min=1e-6)
        elif isinstance(modality, Multispectral):
            low = torch.tensor(modality.low).view(-1, 1, 1)
            if modality.high is None:
                (high,) = percentiles(values, valid.expand_as(values), (98.0,))
            else:
                high = torch.tensor(modality.high).view(-1, 1, 1)
            level = (values - low) / (high - low).clamp(min=1e-12)
        else:
            raise TypeError(f"no encoding of {type(modality).__name__} is known here")
        return level.clamp(0, 1)


def percentiles(values: Tensor, valid: Tensor, shares: tuple[float, ...]) -> list[Tensor]:
    """NumPy's percentiles of the valid values of each channel ``(B, C, H, W)``, one ``(B, C, 1, 1)`` for each share."""
    line = torch.where(valid, values, torch.full_like(values, torch.inf)).flatten(2)
    ordered = torch.sort(line, dim=2).values
    last = (valid.flatten(2).double().sum(dim=2, keepdim=True) - 1).clamp(min=0)
    found = []
    for share in shares:
        place = last * (share / 100)
        below = torch.floor(place)
        low = ordered.gather(2, below.long())
        high = ordered.gather(2, torch.minimum(below + 1, last).long())
        found.append((low + (high - low) * (place - below).float())[..., None])
    return found


def filled(values: Tensor, valid: Tensor) -> Tensor:
    """Values ``(B, C, S, S)`` with each pixel that is not ``valid`` ``(B, S, S)`` replaced by the nearest that is.

    Of several that are equally near the one is taken that ``scipy.ndimage.distance_transform_edt`` takes: it looks
    first along the columns, then along the rows, and at the lower number first. Memory grows with S to the third.
    """
    side = values.shape[-1]
    place = torch.arange(side, dtype=torch.float32)
    apart = (place[:, None] - place).square()  # (here, there)
    down = torch.where(valid[:, None], apart[None, :, :, None], torch.full((), _FAR))  # (B, row, other row, column)
    row = down.argmin(dim=2)
    along = down.amin(dim=2)[:, :, None] + apart  # (B, row, column, other column)
    column = along.argmin(dim=3)
    position = row.gather(2, column) * side + column
    nearest = values.flatten(2).gather(2, position.flatten(1)[:, None].expand(-1, values.shape[1], -1))
    seen = valid.any(dim=2).any(dim=1)[:, None, None, None]
    return torch.where(seen, torch.unflatten(nearest, 2, (side, side)), torch.full((), torch.nan))


def _described(modality: Raster) -> tuple[str, str, tuple[str, ...]]:
    """What the input means, the encoding, and what remains to be done outside, in words."""
    if isinstance(modality, Depth):
        unit = modality.metres_per_unit
        whole = "0.001 for whole numbers, 1 for floating ones" if unit is None else f"{unit:g}"
        stored = "1 / (stored value)" if modality.inverse_stored else "stored value"
        missing = ", ".join(f"{each:g}" for each in modality.invalid)
        range_ = (
            "the 2nd to the 98th percentile of the picture"
            if modality.per_image
            else f"{modality.near:g} to {modality.far:g} m"
        )
        return (
            "distances in metres; NaN, or 0 and below, where nothing was measured",
            f"{range_} to 0..1 ({modality.encoding})",
            (
                f"metres = {stored} times metres per unit ({whole})",
                f"NaN where the stored value means no measurement ({missing or 'none does'})",
            ),
        )
    if isinstance(modality, Thermal):
        scaled = modality.degrees_per_unit is not None
        range_ = (
            "the 1st to the 99th percentile of the picture"
            if modality.low is None
            else f"{modality.low:g} to {modality.high:g}"
        )
        return (
            "degrees Celsius; NaN where nothing was measured" if scaled else "grey levels as stored; NaN where missing",
            f"{range_} to 0..1",
            (
                (f"degrees = {modality.degrees_per_unit:g} times the stored value plus {modality.degrees_offset:g}",)
                if scaled
                else ()
            )
            + (f"NaN where the stored value is one of {list(modality.invalid)}",),
        )
    if isinstance(modality, Multispectral):
        high = "the picture's own 98th percentile" if modality.high is None else f"{modality.high}"
        return (
            f"stored values of the bands {list(modality.bands)} (counted from 0), in this order; NaN where missing",
            f"{modality.low} to {high} as 0..1, band by band",
            (
                f"choosing the bands {list(modality.bands)}",
                f"NaN in all bands where one is one of {list(modality.no_data)}",
            ),
        )
    raise TypeError(f"no encoding of {type(modality).__name__} is known here")
