"""Where things, walls, light and camera are in a made-up picture of furniture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from crossdistill.pairs.making.camera import Camera, Floats, Light, Surface

NEAREST = 0.35  # metres from the camera to the nearest part of a thing, as depth sensors need it
_LOWEST = 0.25  # metres of a camera above the floor; below, the floor before it would be too near to be measured
_TEXTURE = 64  # texels

Generator = np.random.Generator


@dataclass(frozen=True)
class Stage:
    """A view without its things. ``surfaces`` begin with the floor; the others are walls."""

    camera: Camera
    surfaces: tuple[Surface, ...]
    light: Light


def stage_thing(size: Sequence[float], elevation: float, on_wall: bool, side: int, rng: Generator) -> Stage:
    """A random view of one thing whose box of ``size`` (x, y, z) stands on ``(0, elevation, 0)``, its front to +z.

    The camera is all around it, or before the wall that it hangs on, and far enough that the box fills 60 to 95
    percent of the picture in one direction.
    """
    half = np.asarray(size, dtype=np.float64) / 2
    centre = np.array([0.0, elevation + half[1], 0.0])
    azimuth = rng.uniform(-55, 55) if on_wall else rng.uniform(-180, 180)
    height = rng.uniform(-12, 22) if elevation > 1.2 else rng.triangular(4, 18, 50)
    fill = rng.uniform(0.6, 0.95)
    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    while True:
        out = _direction(np.radians(azimuth), np.radians(height))
        axes = Camera.looking(out, (0, 0, 0), side).axes.astype(np.float64)
        local = corners @ axes.T
        distance = float(np.max(np.abs(local[:, :2]) / (fill / 2) + local[:, 2:]))
        distance = max(distance, NEAREST + float(local[:, 2].max()))
        position = centre + distance * out
        if position[1] >= _LOWEST:
            break
        height += 4
    slack = (1 - fill) / 2 * distance * rng.uniform(-0.8, 0.8, 2)
    camera = Camera.looking(position, centre + slack @ axes[:2], side)
    wall = _behind(half, out, on_wall, rng)
    surfaces = (_floor(rng), wall, _beside(wall, half, position, rng))
    return Stage(camera, surfaces, _light(out, wall.normal, rng))


def stage_room(area: float, middle: float, side: int, rng: Generator) -> Stage:
    """A view of a room whose walls are ``x = 0`` and ``z = 0``, with things on ``area`` x ``area`` metres of floor.

    The camera stands outside of that area, so that it is never inside of a thing.
    """
    azimuth = rng.uniform(15, 75)
    reach = area * rng.uniform(0.95, 1.25)
    target = np.array([area * 0.42, middle, area * 0.42]) + rng.uniform(-0.4, 0.4, 3)
    foot = target + reach * _direction(np.radians(azimuth), 0.0)
    edge = area + 0.4  # at least one of the two coordinates is beyond the things
    foot[[0, 2]] += max(0.0, edge - max(foot[0], foot[2]))
    position = np.array([foot[0], rng.uniform(1.3, 2.3), foot[2]])
    walls = (_wall((0, 0, 0), (0, 0, 1), rng), _wall((0, 0, 0), (1, 0, 0), rng))
    return Stage(
        Camera.looking(position, target, side),
        (_floor(rng), *walls),
        _light(_direction(np.radians(azimuth), 0.3), None, rng),
    )


def _direction(azimuth: float, height: float) -> NDArray[np.float64]:
    """Unit vector at ``azimuth`` from +z towards +x, and ``height`` above the horizon, in radians."""
    flat = np.cos(height)
    return np.array([np.sin(azimuth) * flat, np.sin(height), np.cos(azimuth) * flat])


def _behind(half: NDArray[np.float64], out: NDArray[np.float64], on_wall: bool, rng: Generator) -> Surface:
    """The wall that is seen behind a thing."""
    if on_wall:
        return _wall((0, 0, -half[2]), (0, 0, 1), rng)
    turn = np.arctan2(out[0], out[2]) + np.radians(rng.uniform(-35, 35))
    normal = _direction(turn, 0.0)
    reach = float(np.abs(normal) @ half)
    gap = rng.uniform(0.02, 0.3) + rng.uniform(0, 1.2) * min(reach, 1.0)
    return _wall(-(reach + gap) * normal, normal, rng)


def _beside(wall: Surface, half: NDArray[np.float64], position: NDArray[np.float64], rng: Generator) -> Surface:
    """A wall at right angles to ``wall``, on the side where that one runs away from the camera."""
    along = wall.axes[0].astype(np.float64)
    normal = along if along @ position > 0 else -along  # to the camera's side; the wall stands on the other
    return _wall(-(float(np.abs(along) @ half) + rng.uniform(0.1, 1.5)) * normal, normal, rng)


def _floor(rng: Generator) -> Surface:
    axes = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    return Surface(np.zeros(3, np.float32), np.array([0, 1, 0], np.float32), axes, _texture(rng), rng.uniform(0.8, 2.5))


def _wall(point: ArrayLike, normal: ArrayLike, rng: Generator) -> Surface:
    place, out = np.asarray(point, dtype=np.float32), np.asarray(normal, dtype=np.float32)
    axes = np.array([[out[2], 0, -out[0]], [0, 1, 0]], np.float32)
    return Surface(place, out, axes, _texture(rng), rng.uniform(0.8, 2.5))


def _light(out: NDArray[np.float64], wall: Floats | None, rng: Generator) -> Light:
    """Light from above, from within a right angle of the camera and from before the wall."""
    turn = np.arctan2(out[0], out[2]) + np.radians(rng.uniform(-70, 70))
    towards = _direction(turn, np.radians(rng.uniform(35, 75)))
    if wall is not None and towards @ wall < 0.15:
        towards = towards + wall * (0.15 - towards @ wall)
    blur = rng.uniform(0.01, 0.08)
    spread = towards + blur * rng.standard_normal((4, 3))
    directions = (spread / np.linalg.norm(spread, axis=1, keepdims=True)).astype(np.float32)
    sky = rng.uniform(0.4, 0.65)
    tint = 1 + rng.uniform(-0.08, 0.08) * np.array([1.0, 0.2, -1.0])
    return Light(directions, (rng.uniform(0.8, 1.05) - 0.75 * sky, sky), tint.astype(np.float32))


def _texture(rng: Generator) -> Floats:
    """A random colour with blotches, in places as planks, tiles or stripes, ``(64, 64, 3)``; it repeats."""
    base = _colour(rng)
    noise = rng.standard_normal((_TEXTURE, _TEXTURE), dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, rng.uniform(0.7, 5, 2), mode="wrap", truncate=2)
    texture = base + (rng.uniform(0, 0.05) / max(float(smooth.std()), 1e-9) * smooth)[:, :, None]
    kind = rng.choice(["plain", "planks", "tiles", "stripes"], p=[0.5, 0.2, 0.15, 0.15])
    place = np.arange(_TEXTURE)
    count = int(rng.choice([2, 4, 8]))
    cell = place * count // _TEXTURE
    if kind == "planks":
        shades = 1 + 0.12 * rng.standard_normal((count, 1, 1))
        texture = texture * shades[cell]
        texture[place % (_TEXTURE // count) == 0] *= 0.75
    elif kind == "tiles":
        other = np.clip(base + rng.normal(0, 0.2, 3), 0, 1)
        odd = (cell[:, None] + cell[None]) % 2 == 1
        texture = np.where(odd[:, :, None], texture + other - base, texture)
    elif kind == "stripes":
        texture[:, cell % 2 == 1] += rng.normal(0, 0.15, 3)
    return np.asarray(np.clip(texture, 0.03, 1), dtype=np.float32)


def _colour(rng: Generator) -> NDArray[np.float64]:
    """A random colour, most often pale, as in rooms."""
    grey = rng.uniform(0.35, 0.95)
    return np.clip(grey + rng.normal(0, rng.choice([0.03, 0.15], p=[0.6, 0.4]), 3), 0.05, 1)
