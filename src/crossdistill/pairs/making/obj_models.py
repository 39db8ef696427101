"""OBJ models of furniture as meshes of their true size (read by trimesh, out of the library's zip)."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossdistill.pairs.making.meshes import Mesh, joined
from crossdistill.pairs.making.sweethome import Furniture, read_member

TEXTURE_SIDE = 256  # pixels; a picture of some hundred pixels shows no more
_MOST_TEXTURE = 8192 * 8192  # pixels of a stored texture; beyond it a file is hostile
_MOST_TRIANGLES = 4_000_000
_MOST_LIBRARY = 1 << 30  # bytes of a library, which is kept in memory
_INVISIBLE = 0.05  # opacity below which a surface is a helper of the modeller
_GREY = (0.7, 0.7, 0.7)


class MeshError(Exception):
    """A model that cannot be used; the caller names it and goes on without."""


@lru_cache(maxsize=1)
def _archive(file: Path, size: int, changed: int) -> zipfile.ZipFile:
    """A library in memory: to list a thousand files takes longer than to read most of the models."""
    return zipfile.ZipFile(io.BytesIO(file.read_bytes()))


class _Beside:
    """The files beside a model in its archive, as trimesh asks for them; what is not there or no picture is noted."""

    def __init__(self, archive: zipfile.ZipFile, model: str) -> None:
        self.archive, self.folder = archive, PurePosixPath(model).parent
        self.missing: list[str] = []

    def get(self, name: str) -> bytes:
        """The file, or one of its name beside the model where its author had it elsewhere (``C:/me/wood.jpg``)."""
        plain = name.replace("\\", "/").strip()
        for place in (plain, plain.rsplit("/", 1)[-1]):
            wanted = str(self.folder / place)
            if wanted in self.archive.NameToInfo:
                content = read_member(self.archive, wanted)
                if _usable(wanted, content):
                    return content
        self.missing.append(name)
        raise OSError(f"no file {name}")

    __getitem__ = get


def _usable(name: str, content: bytes) -> bool:
    """Whether a texture has the beginning of a picture; trimesh goes on without it and says nothing."""
    try:
        if not name.lower().endswith(".mtl"):
            Image.open(io.BytesIO(content)).close()
    except (OSError, Image.DecompressionBombError):
        return False
    return True


def read_furniture(furniture: Furniture) -> tuple[Mesh, list[str]]:
    """The model of a piece of furniture in its catalogued size, and the textures that it names and lacks.

    Raises:
        MeshError: it is not there, or is no mesh.
    """
    from trimesh.exchange.obj import load_obj

    try:
        status = furniture.library.stat()
        if status.st_size > _MOST_LIBRARY:
            raise MeshError(f"its library has {status.st_size:,} bytes, where {_MOST_LIBRARY:,} are the most")
        archive = _archive(furniture.library, status.st_size, status.st_mtime_ns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # trimesh guesses at malformed lines; what it makes of them is checked
            beside = _Beside(archive, furniture.model)
            resolver: Any = beside  # no subclass of trimesh's, which is imported where it is needed
            loaded = load_obj(io.BytesIO(read_member(archive, furniture.model)), resolver=resolver)
            parts = list(loaded.get("geometry", {}).values())
            return _fitted(_mesh(parts), furniture), beside.missing
    except MeshError:
        raise
    except KeyError as error:
        raise MeshError(f"the library has no such file: {error}") from error
    except Exception as error:  # trimesh has no error of its own for a damaged model
        raise MeshError(f"it cannot be read: {type(error).__name__}: {error}") from error


def _mesh(parts: Sequence[dict[str, Any]]) -> Mesh:
    from trimesh.geometry import triangulate_quads

    found = []
    for part in parts:
        vertices = np.asarray(part["vertices"], dtype=np.float32)
        faces = np.asarray(triangulate_quads(part["faces"]), dtype=np.int64).reshape(-1, 3)
        if len(faces) > _MOST_TRIANGLES:
            raise MeshError(f"it has {len(faces):,} triangles, where {_MOST_TRIANGLES:,} are the most")
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
            raise MeshError("a face names a vertex that is not there")
        faces = faces[np.isfinite(vertices[faces]).all(axis=(1, 2))]
        visual = part.get("visual")
        colour, texels = _material(getattr(visual, "material", None))
        uv = getattr(visual, "uv", None)
        if uv is None or len(uv) != len(vertices):
            uv, texels = np.zeros((len(vertices), 2)), None
        found.append(Mesh(
            vertices=np.nan_to_num(vertices), normals=_unit(part.get("vertex_normals"), len(vertices)),
            uv=np.nan_to_num(np.asarray(uv, dtype=np.float32)), faces=faces.astype(np.int32),
            material=np.zeros(len(faces), np.int32), owner=np.zeros(len(faces), np.int32), colours=colour[None],
            textures=np.array([[0, *(texels.shape[1::-1] if texels is not None else (0, 0))]], np.int32),
            texels=np.zeros((0, 4), np.uint8) if texels is None else texels.reshape(-1, 4),
        ))  # fmt: skip
    if not sum(len(mesh.faces) for mesh in found):
        raise MeshError("it has no triangles")
    return joined(found)


def _unit(normals: Any, count: int) -> NDArray[np.float32]:
    if normals is None or np.shape(normals) != (count, 3):
        return np.zeros((count, 3), np.float32)
    values = np.nan_to_num(np.asarray(normals, dtype=np.float32))
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6), dtype=np.float32)


def _material(material: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Colour with opacity ``(4,)``, and the texture ``(H, W, 4)``."""
    about = getattr(material, "kwargs", {})
    colour = np.asarray(about.get("kd", _GREY), dtype=np.float32)
    opacity = float(about["d"][0]) if about.get("d") else 1.0
    full = np.clip(np.nan_to_num(np.array([*np.resize(colour, 3), opacity], np.float32), nan=1.0), 0, 1)
    picture = getattr(material, "image", None)
    if picture is None:
        return full, None
    if picture.width * picture.height > _MOST_TEXTURE:
        raise MeshError(f"a texture has {picture.width} x {picture.height} pixels")
    picture.draft("RGB", (TEXTURE_SIDE, TEXTURE_SIDE))  # a JPEG need not be decoded at its full size
    small = picture.convert("RGBA").resize(
        tuple(max(1, min(side, TEXTURE_SIDE)) for side in picture.size), Image.Resampling.BOX
    )
    full[:3] = 1  # as in Sweet Home 3D, where a texture replaces the colour
    return full, np.asarray(small, dtype=np.uint8)


def _fitted(mesh: Mesh, furniture: Furniture) -> Mesh:
    """The mesh turned as the catalogue says, then stretched to its size."""
    matrix = np.asarray(furniture.rotation, dtype=np.float32).reshape(3, 3)
    vertices = mesh.vertices @ matrix.T
    used = vertices[np.unique(mesh.faces)]
    low, high = used.min(axis=0), used.max(axis=0)
    extent = high - low
    scale = np.asarray(furniture.size, dtype=np.float32) / np.where(extent > 0, extent, 1)
    base = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2], np.float32)
    normals = mesh.normals @ matrix.T / np.maximum(scale, 1e-6)
    seen = mesh.colours[mesh.material, 3] >= _INVISIBLE
    if not seen.any():
        raise MeshError("all of it is transparent")
    parts = {"faces": mesh.faces[seen], "material": mesh.material[seen], "owner": mesh.owner[seen]}
    return Mesh(
        **{**vars(mesh), **parts, "vertices": (vertices - base) * scale, "normals": _unit(normals, len(normals))}
    )
