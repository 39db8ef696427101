"""Triangle meshes with materials: kept in files, placed in a scene, joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossdistill.files import atomic_path


@dataclass(frozen=True)
class Mesh:
    """Triangles in metres (x right, y up, z to the front), standing on ``y = 0`` with their middle at ``x = z = 0``.

    Attributes:
        vertices: ``(V, 3)`` float32.
        normals: ``(V, 3)`` float32, of unit length or zero where the model has none.
        uv: ``(V, 2)`` float32 texture coordinates.
        faces: ``(F, 3)`` int32 rows of vertices.
        material: ``(F,)`` int32 rows of ``colours`` and ``textures``.
        owner: ``(F,)`` int32, whose triangle it is after :func:`joined`; 0 before.
        colours: ``(M, 4)`` float32 red, green, blue, opacity in 0..1.
        textures: ``(M, 3)`` int32 first texel, width and height; width 0 for none.
        texels: ``(P, 4)`` uint8, the pixels of all textures.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    uv: NDArray[np.float32]
    faces: NDArray[np.int32]
    material: NDArray[np.int32]
    owner: NDArray[np.int32]
    colours: NDArray[np.float32]
    textures: NDArray[np.int32]
    texels: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Writes an uncompressed ``.npz``, normals in 8 bits."""
        small = {"normals": np.round(self.normals * 127).astype(np.int8), "material": self.material.astype(np.uint16)}
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{name: value for name, value in {**vars(self), **small}.items() if name != "owner"})

    @classmethod
    def load(cls, path: Path) -> Mesh:
        """Reads what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        found["normals"] = found["normals"].astype(np.float32) / 127
        found["material"] = found["material"].astype(np.int32)
        return cls(**found, owner=np.zeros(len(found["faces"]), np.int32))

    def placed(self, turn: float, offset: Sequence[float]) -> Mesh:
        """The mesh turned by ``turn`` radians about the vertical, counter-clockwise seen from above, then moved."""
        matrix = turned(turn)
        moved = self.vertices @ matrix.T + np.asarray(offset, dtype=np.float32)
        return Mesh(**{**vars(self), "vertices": moved, "normals": self.normals @ matrix.T})


def turned(angle: float) -> NDArray[np.float32]:
    """The rotation about the vertical that brings +z towards +x, ``(3, 3)``."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one; ``owner`` says which of them a triangle came from."""

    def shifted(name: str, by: str) -> NDArray[np.int32]:
        starts = np.cumsum([0, *(len(getattr(mesh, by)) for mesh in meshes[:-1])])
        return np.concatenate([getattr(mesh, name) + start for mesh, start in zip(meshes, starts, strict=True)]).astype(
            np.int32
        )

    starts = np.cumsum([0, *(len(mesh.texels) for mesh in meshes[:-1])])
    textures = [mesh.textures + np.array([start, 0, 0]) for mesh, start in zip(meshes, starts, strict=True)]
    plain = {name: np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in
             ("vertices", "normals", "uv", "colours", "texels")}  # fmt: skip
    owner = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes]).astype(np.int32)
    return Mesh(**plain, faces=shifted("faces", "vertices"), material=shifted("material", "colours"), owner=owner,
                textures=np.concatenate(textures).astype(np.int32))  # fmt: skip
