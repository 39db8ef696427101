"""A map of a gallery in two dimensions, drawn once as a picture of pictures, and the place of a query on it."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from crossdistill.evaluation.probes import Ints, Vectors
from crossdistill.serve.gallery import Gallery, Shelf

Floats = NDArray[np.float64]

_MOST = 240  # items on the map
_FEWEST = 8
_DIGITS = 4  # of a vector's values, by which it is told from others
_SIDE = 1280  # pixels
_TILE = 56
_STEPS = 120  # of pushing pictures apart
_ANCHORS = 5  # nearest items on the map that pull a query
_SHARPNESS = 0.05  # of similarity, by which the pull falls to 1/e


@dataclass(frozen=True)
class Point:
    """A place on the map, 0..1 from its left and from its top."""

    x: float
    y: float


class Map:
    """A t-SNE map (van der Maaten and Hinton, 2008) of some items of a shelf.

    A new item has no place in a t-SNE map; it is put at the mean of its nearest items there, weighted by similarity.

    Args:
        shelf: the items.
        seed: chooses them, where they are more than fit, and begins the map.
    """

    def __init__(self, shelf: Shelf, seed: int) -> None:
        self.gallery: Gallery = shelf.gallery
        everything = np.arange(len(shelf.gallery))
        self.rows: Ints = np.sort(np.random.default_rng(seed).permutation(everything)[:_MOST])
        self._vectors = np.asarray(shelf.vectors[self.rows])
        self.places = _places(self._vectors, seed)
        self._lock = threading.Lock()
        self._drawn: bytes | None = None

    def __len__(self) -> int:
        return len(self.places)

    def place(self, vector: Vectors) -> tuple[Point, list[Point]] | None:
        """Where a vector ``(d,)`` belongs, and the places that pull it; None without a map."""
        if len(self.places) == 0:
            return None
        similarity = (self._vectors @ vector).astype(np.float64)
        anchors = np.argsort(-similarity, kind="stable")[:_ANCHORS]
        weights = np.exp((similarity[anchors] - similarity[anchors[0]]) / _SHARPNESS)
        x, y = weights @ self.places[anchors] / weights.sum()
        return Point(float(x), float(y)), [Point(float(a), float(b)) for a, b in self.places[anchors]]

    def picture(self) -> bytes:
        """The map as a WebP picture on a transparent ground, drawn once."""
        with self._lock:
            if self._drawn is None:
                self._drawn = self._draw()
            return self._drawn

    def _draw(self) -> bytes:
        sheet = Pillow.new("RGBA", (_SIDE, _SIDE), (0, 0, 0, 0))
        mask = Pillow.new("L", (_TILE, _TILE), 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, _TILE - 1, _TILE - 1), radius=_TILE // 5, fill=255)
        for row, (x, y) in zip(self.rows, self.places, strict=True):
            drawn = self.gallery.picture(int(row))
            if drawn is None:
                continue
            with Pillow.open(io.BytesIO(drawn)) as opened:
                tile = opened.convert("RGB").resize((_TILE, _TILE), Pillow.Resampling.LANCZOS)
            sheet.paste(tile, (round(x * _SIDE - _TILE / 2), round(y * _SIDE - _TILE / 2)), mask)
        stream = io.BytesIO()
        sheet.save(stream, format="WEBP", quality=80, method=4)
        return stream.getvalue()


def _places(vectors: Vectors, seed: int) -> Floats:
    """Places of vectors in the unit square, with a margin for pictures, ``(n, 2)``; empty for too few.

    Equal ones count once, also those that differ by rounding: t-SNE of what has no extent never ends well.
    """
    if len(np.unique(vectors.round(_DIGITS), axis=0)) < _FEWEST:
        return np.empty((0, 2))
    with threadpool_limits(limits=1):  # the order of parallel sums would change the last digits
        found = TSNE(
            perplexity=min(20.0, len(vectors) / 4), init="pca", metric="cosine", random_state=seed
        ).fit_transform(vectors)
    return _apart(_within(found.astype(np.float64)))


def _within(places: Floats) -> Floats:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = _TILE / _SIDE * 0.75
    scaled: Floats = margin + (1 - 2 * margin) * (places - low) / np.maximum(high - low, 1e-9)
    return scaled


def _apart(places: Floats) -> Floats:
    """The places with pictures pushed apart that lie on each other."""
    wanted = _TILE / _SIDE * 1.04
    moved = places.copy()
    for _ in range(_STEPS):
        gap = moved[:, None] - moved[None]
        overlap = wanted - np.abs(gap).max(axis=2)
        np.fill_diagonal(overlap, 0)
        near = overlap > 0
        if not near.any():
            break
        axis = np.abs(gap).argmax(axis=2)
        push = np.zeros_like(gap)
        sign = np.sign(np.take_along_axis(gap, axis[:, :, None], axis=2)[:, :, 0])
        sign = np.where(sign == 0, np.triu(np.ones_like(sign)) * 2 - 1, sign)
        np.put_along_axis(push, axis[:, :, None], (sign * np.where(near, overlap, 0) / 4)[:, :, None], axis=2)
        moved += push.sum(axis=1)
    return _within(moved)
