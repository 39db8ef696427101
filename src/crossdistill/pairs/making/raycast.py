"""Pictures of meshes before plane surfaces by ray casting (Embree): colours, exact depth, and what each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.pairs.making.camera import Camera, Floats, Light, Surface
from crossdistill.pairs.making.meshes import Mesh

NOTHING = -1000  # in Picture.what
_LAYERS = 8  # surfaces that a ray goes through where they are transparent
_DARK = 0.05  # what is left of a ray that is not worth following
_BEYOND = 1e-4  # of the distance: where a ray goes on behind a surface
_ABOVE = 2e-3  # metres above a surface, where a ray to the light begins
_STEP = 16 / 255  # between neighbours, from which on a pixel gets more samples
_SAMPLES = np.array(
    [(-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375)], np.float32
)  # of a pixel: a rotated grid


@dataclass(frozen=True)
class Picture:
    """What a camera sees.

    Attributes:
        rgb: ``(side, side, 3)`` uint8.
        depth: ``(side, side)`` float32, metres along the line of sight, infinite where there is nothing.
        what: ``(side, side)`` int32, ``Mesh.owner`` of what the pixel's middle shows, ``-1 - k`` for the surface
            number k, or :data:`NOTHING`.
    """

    rgb: NDArray[np.uint8]
    depth: Floats
    what: NDArray[np.int32]


class Scene:
    """A mesh that rays are cast at; one scene serves many pictures."""

    def __init__(self, mesh: Mesh) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.mesh = mesh
        self._embree: Any = EmbreeScene()
        TriangleMesh(self._embree, np.ascontiguousarray(mesh.vertices, np.float32), mesh.faces)

    def picture(self, camera: Camera, surfaces: Sequence[Surface], light: Light) -> Picture:
        """Casts a ray through the middle of every pixel, and four more where colours change from one to the next."""
        side = camera.side
        rays = camera.rays()
        towards = np.repeat(light.directions[:1], len(rays), axis=0)
        colour, depth, what = self._cast(camera.position, rays, surfaces, light, towards)
        uneven = np.flatnonzero(_uneven(colour.reshape(side, side, 3)))
        shifts = (_SAMPLES / side) @ camera.axes[:2]
        more = np.asarray(shifts[:, None] + rays[uneven], dtype=np.float32).reshape(-1, 3)
        towards = np.repeat(light.directions, len(uneven), axis=0)
        finer, _, _ = self._cast(camera.position, more, surfaces, light, towards)
        colour[uneven] = finer.reshape(len(_SAMPLES), len(uneven), 3).mean(axis=0)
        rgb = np.round(np.clip(colour, 0, 1) * 255).astype(np.uint8)
        return Picture(rgb.reshape(side, side, 3), depth.reshape(side, side), what.reshape(side, side))

    def _cast(
        self, origin: Floats, rays: Floats, surfaces: Sequence[Surface], light: Light, towards: Floats
    ) -> tuple[Floats, Floats, NDArray[np.int32]]:
        """Colour ``(N, 3)``, depth and what is seen ``(N,)``; ``towards`` ``(N, 3)`` is each ray's way to the light."""
        end = np.full(len(rays), np.inf, np.float32)
        what = np.full(len(rays), NOTHING, np.int32)
        for number, surface in enumerate(surfaces):
            there = surface.distances(origin, rays)
            nearer = there < end
            np.copyto(end, there, where=nearer)
            what[nearer] = -1 - number
        behind, depth = what.copy(), end.copy()
        colour, through = np.zeros_like(rays), np.ones_like(end)
        alive, start = np.arange(len(rays)), np.zeros_like(end)
        solid_yet = np.zeros(len(rays), dtype=bool)
        for _ in range(_LAYERS):
            ways = rays.take(alive, 0)
            found = self._embree.run(origin + ways * start.take(alive)[:, None], ways, output=True)
            distance = found["tfar"] + start[alive]
            near = np.flatnonzero((found["primID"] >= 0) & (distance < end[alive]))
            if not len(near):
                break
            alive, ways, distance, faces = alive[near], ways.take(near, 0), distance[near], found["primID"][near]
            paint, normal = self._surface(faces, found["u"][near], found["v"][near], found["Ng"][near], ways)
            lit = self._lit(origin + ways * distance[:, None], normal, towards.take(alive, 0), light)
            colour[alive] += (through[alive] * paint[:, 3])[:, None] * paint[:, :3] * lit
            solid = np.flatnonzero((paint[:, 3] > 0) & ~solid_yet[alive])
            first = alive[solid]
            depth[first], what[first], solid_yet[first] = distance[solid], self.mesh.owner[faces[solid]], True
            through[alive] *= 1 - paint[:, 3]
            start[alive] = distance * (1 + _BEYOND)
            alive = alive[through[alive] > _DARK]
            if not len(alive):
                break
        for number, surface in enumerate(surfaces):
            seen = np.flatnonzero((behind == -1 - number) & (through > _DARK))
            points = origin + rays.take(seen, 0) * end.take(seen)[:, None]
            lit = self._lit(points, surface.normal, towards.take(seen, 0), light)
            colour[seen] = colour.take(seen, 0) + through.take(seen)[:, None] * surface.colours(points) * lit
        return colour, depth, what

    def _surface(self, faces: NDArray[Any], u: Floats, v: Floats, flat: Floats, rays: Floats) -> tuple[Floats, Floats]:
        """Colour with opacity ``(N, 4)`` and unit normal ``(N, 3)`` towards the camera, of points in triangles."""
        mesh = self.mesh
        corners, material = mesh.faces.take(faces, 0).T, mesh.material.take(faces)
        weights = np.stack([1 - u - v, u, v])
        colour = mesh.colours.take(material, 0)
        textured = np.flatnonzero(mesh.textures[:, 1].take(material) > 0)
        if len(textured):
            place = _mixed(mesh.uv, corners[:, textured], weights[:, textured])
            place -= np.floor(place)
            first, width, height = mesh.textures.take(material[textured], 0).T
            columns = np.minimum((place[:, 0] * width).astype(np.int64), width - 1)
            rows = np.minimum(((1 - place[:, 1]) * height).astype(np.int64), height - 1)
            texels = mesh.texels.take(first + rows * width + columns, 0).astype(np.float32) / 255
            colour[textured, :3] *= texels[:, :3]
            colour[textured, 3] *= texels[:, 3] >= 0.5  # leaves are cut out of their pictures
        sign = np.copysign(np.float32(1), -_dot(flat, rays))  # towards the camera
        flat = np.asarray(flat * (sign / np.maximum(_length(flat), 1e-20))[:, None], dtype=np.float32)
        smooth = _mixed(mesh.normals, corners, weights)
        length = _length(smooth)[:, None]
        normal: Floats = np.where(length > 0.1, smooth / np.maximum(length, 0.1), flat)
        return colour, normal * np.copysign(1, _dot(normal, flat))[:, None]

    def _lit(self, points: Floats, normals: Floats, towards: Floats, light: Light) -> Floats:
        """How bright white is there, ``(N, 3)`` in the encoding of pictures; ``normals`` are ``(N, 3)`` or ``(3,)``."""
        shadow = self._embree.run(points + normals * np.float32(_ABOVE), towards, query="OCCLUDED") >= 0
        direct, sky = light.strength
        facing = towards @ normals if normals.ndim == 1 else _dot(normals, towards)
        sun = direct * np.maximum(facing, 0) * ~shadow
        around = sky * (0.75 + 0.25 * normals[..., 1:2])
        # Colours of models and pictures are encoded with a gamma of about two, and light is not.
        return np.asarray(np.sqrt(around + sun[:, None] * light.tint), dtype=np.float32)


def _uneven(colour: Floats) -> NDArray[np.bool_]:
    """Where one pixel differs from the one beside or below it: on both of them, ``(side, side)``."""
    grey = colour @ np.array([0.4, 0.35, 0.25], np.float32)
    found = np.zeros(grey.shape, dtype=bool)
    across, down = np.abs(np.diff(grey, axis=1)) > _STEP, np.abs(np.diff(grey, axis=0)) > _STEP
    found[:, 1:] |= across
    found[:, :-1] |= across
    found[1:] |= down
    found[:-1] |= down
    return found


def _mixed(values: Floats, corners: NDArray[np.int32], weights: Floats) -> Floats:
    """The mean of three rows of ``values`` for each point; ``corners`` and ``weights`` are ``(3, N)``."""
    first, second, third = (values.take(rows, 0) * share[:, None] for rows, share in zip(corners, weights, strict=True))
    return np.asarray(first + second + third, dtype=np.float32)


def _dot(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("ni,ni->n", first, second), dtype=np.float32)


def _length(vectors: Floats) -> Floats:
    return np.sqrt(_dot(vectors, vectors))
