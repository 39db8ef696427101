"""``furniture-depth``: rendered colour pictures of furniture and the depth maps of the same views.

The models come from the Debian package ``sweethome3d-furniture`` (Sweet Home 3D's libraries, CC BY 3.0 and CC0), which
the user fetches; pictures are made here by ray casting. ``credits.csv`` beside the manifest names the models' authors.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from crossdistill.console import say, warn
from crossdistill.errors import PairsError
from crossdistill.files import read_json, write_bytes, write_json, write_text
from crossdistill.pairs.making.build import BuiltinSet, Site, imports
from crossdistill.pairs.making.depth_sensor import LIMIT, measured
from crossdistill.pairs.making.meshes import Mesh, joined
from crossdistill.pairs.making.obj_models import MeshError, read_furniture
from crossdistill.pairs.making.package import Package
from crossdistill.pairs.making.raycast import Picture, Scene
from crossdistill.pairs.making.room_plans import Room, fits_a_room, plan_rooms
from crossdistill.pairs.making.staging import NEAREST, stage_room, stage_thing
from crossdistill.pairs.making.sweethome import CLASSES, Furniture, read_libraries
from crossdistill.pairs.table import Licence, Pair

SIZES = (0.1, 4.8)  # metres: a depth sensor sees nothing of smaller things; around larger ones its range ends
FLAT = 0.02  # metres: what lies no higher is lost in the sensor's noise
BACKGROUND = ("void", "floor", "wall")  # numbers 0, 1, 2 of a mask; the classes follow
UNLABELLED = 255  # in a mask: a thing of none of the classes


class Options(BaseModel):
    """What is rendered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenes: Literal["objects", "rooms"] = Field(
        "objects", description="one object in each picture with its class, or rooms with a mask of classes"
    )
    side: int = Field(96, ge=32, le=1024, description="of a picture, in pixels")
    views: int = Field(4, ge=1, le=1000, description="of each object; for scenes=objects")
    rooms: int = Field(1200, ge=1, le=1_000_000, description="pictures; for scenes=rooms")
    sensor: bool = Field(True, description="noise and holes of a depth sensor instead of exact distances")
    seed: int = Field(0, ge=0, description="of everything random")


def build(site: Site[Options]) -> list[Pair]:
    """Renders ``source/*.png``, ``target/*.png`` (millimetres in 16 bits, 0 for no measurement) and ``mask/*.png``."""
    with imports("furniture-depth", "sets"):
        import embreex  # noqa: F401
        import trimesh  # noqa: F401
    if site.origin is None:
        raise ValueError("the set is made from a package")
    known = read_libraries(site.origin)
    fitting = [each for each in known if _fits(each)]
    if len(fitting) < len(known):
        say(
            f"{len(known) - len(fitting)} of {len(known)} objects are smaller than {SIZES[0]:g} m, larger than "
            f"{SIZES[1]:g} m or flatter than {FLAT:g} m, which no depth map shows well: they are not rendered"
        )
    wanted = fitting if site.options.scenes == "objects" else [each for each in fitting if fits_a_room(each)]
    site.each("reading meshes", _read, wanted)
    usable = _usable(site.folder, wanted)
    if site.options.scenes == "rooms":
        rows = site.each("rendering rooms", _render_room, plan_rooms(usable, site.options.rooms, site.options.seed))
    else:
        rows = site.each("rendering objects", _render_object, usable)
    names = {**dict(enumerate((*BACKGROUND, *CLASSES))), UNLABELLED: "unlabelled"}
    write_json(site.folder / "mask_classes.json", {str(number): name for number, name in names.items()})
    _write_credits(site.folder / "credits.csv", usable)
    return rows


def _fits(furniture: Furniture) -> bool:
    return SIZES[0] <= max(furniture.size) <= SIZES[1] and furniture.size[1] > FLAT


def _mesh_file(folder: Path, furniture: Furniture) -> Path:
    return folder / ".parts" / "meshes" / f"{furniture.stem}.npz"


def _read(folder: Path, _: Options, furniture: Furniture) -> Sequence[Pair]:
    """Keeps the mesh where rendering finds it; what is wrong with it goes into a note beside it."""
    file = _mesh_file(folder, furniture)
    try:
        mesh, missing = read_furniture(furniture)
    except MeshError as error:
        write_json(file.with_suffix(".json"), {"left out": str(error), "missing": []})
    else:
        mesh.save(file)
        write_json(file.with_suffix(".json"), {"left out": None, "missing": sorted(set(missing))})
    return []


def _usable(folder: Path, furniture: Sequence[Furniture]) -> list[Furniture]:
    """The furniture whose meshes could be read; the others are named, as are missing textures."""
    notes = {each: read_json(_mesh_file(folder, each).with_suffix(".json")) for each in furniture}
    broken = [each for each, note in notes.items() if note["left out"] is not None]
    for each in broken:
        warn(f"left out: {each.name} ({each.id}): {notes[each]['left out']}")
    if broken:
        warn(f"{len(broken)} of {len(furniture)} objects are left out")
    plain = [each.id for each in furniture if notes[each]["missing"]]
    if plain:
        warn(f"{len(plain)} objects name textures that the package lacks, and get plain colours: {', '.join(plain)}")
    if len(broken) == len(furniture):
        raise PairsError("None of the package's meshes can be used.", fix="fetch the package again")
    return [each for each in furniture if notes[each]["left out"] is None]


def _render_object(folder: Path, options: Options, furniture: Furniture) -> list[Pair]:
    mesh = Mesh.load(_mesh_file(folder, furniture))
    scene = Scene(mesh.placed(0.0, (0.0, furniture.elevation, 0.0)))
    numbers = np.array([_class_number(furniture)])
    rows = []
    for view in range(options.views):
        rng = np.random.default_rng([options.seed, 0, zlib.crc32(furniture.id.encode()), view])
        stage = stage_thing(furniture.size, furniture.elevation, furniture.on_wall, options.side, rng)
        picture = scene.picture(stage.camera, stage.surfaces, stage.light)
        mask = np.where(picture.what >= 0, numbers[np.maximum(picture.what, 0)], 0)
        name = f"{furniture.stem}-{view}.png"
        pair = _written(folder, name, picture, mask, options, rng)
        where = f"{furniture.name}, view {view}"
        rows.append(replace(pair, label=furniture.label, group=furniture.id, where=where))
    return rows


def _render_room(folder: Path, options: Options, room: Room) -> list[Pair]:
    meshes = [
        Mesh.load(_mesh_file(folder, thing.furniture)).placed(thing.turn, (thing.x, thing.furniture.elevation, thing.z))
        for thing in room.things
    ]
    rng = np.random.default_rng([options.seed, 2, room.number])
    tallest = max(thing.furniture.elevation + thing.furniture.size[1] for thing in room.things)
    stage = stage_room(room.area, min(0.3 + 0.3 * tallest, 0.9), options.side, rng)
    picture = Scene(joined(meshes)).picture(stage.camera, stage.surfaces, stage.light)
    numbers = np.array([_class_number(thing.furniture) for thing in room.things])
    mask = np.select([picture.what >= 0, picture.what == -1, picture.what > -len(stage.surfaces) - 1],
                     [numbers[np.maximum(picture.what, 0)], 1, 2], 0)  # fmt: skip
    name = f"room-{room.number:05}"
    pair = _written(folder, f"{name}.png", picture, mask, options, rng)
    return [replace(pair, split=room.split, group=name, where=name)]


def _class_number(furniture: Furniture) -> int:
    return UNLABELLED if furniture.label is None else len(BACKGROUND) + CLASSES.index(furniture.label)


def _written(
    folder: Path, name: str, picture: Picture, mask: NDArray[Any], options: Options, rng: np.random.Generator
) -> Pair:
    """The pair of one view, its three pictures written."""
    metres = measured(picture.depth, rng) if options.sensor else picture.depth
    stored = np.where(metres < np.iinfo(np.uint16).max / 1000, np.rint(metres * 1000), 0).astype(np.uint16)
    files = {column: folder / column / name for column in ("source", "target", "mask")}
    contents: tuple[NDArray[Any], ...] = (picture.rgb, stored, mask.astype(np.uint8))
    for file, values in zip(files.values(), contents, strict=True):
        content = io.BytesIO()
        # Twice as fast as the default level, and a tenth larger.
        Image.fromarray(values).save(content, "PNG", compress_level=2)
        write_bytes(file, content.getvalue())
    return Pair(source=files["source"], target=files["target"], mask=files["mask"])


def _write_credits(path: Path, furniture: Sequence[Furniture]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "name", "author", "library", "licence"])
    for each in furniture:
        writer.writerow([each.id, each.name, each.author, each.library.stem, each.licence])
    write_text(path, text.getvalue())


DATASET = BuiltinSet(
    name="furniture-depth",
    summary="Sweet Home 3D furniture, rendered: colour -> depth, 96 px, 14 classes; or rooms with masks (scenes=rooms)",
    licence=Licence(
        name="CC BY 3.0",
        attribution=(
            "Rendered from 3D models of Sweet Home 3D's furniture libraries: Scopia (c) 2006-2020 Scopia Visual "
            "Interfaces Systems, s.l. (http://www.scopia.es) and Emmanuel Puybaret / eTeks, CC BY 3.0; Kator Legaz "
            "(c) 2003-2008 Andrew Kator & Jennifer Legaz, CC BY 3.0 US; Reallusion (c) 2008-2016 Reallusion "
            "(http://www.reallusion.com), CC BY 3.0 US; Blend Swap contributors, CC BY 3.0 and CC0. The models were "
            "scaled, lit and put before made-up rooms; credits.csv names the author of each."
        ),
        url="https://creativecommons.org/licenses/by/3.0/",
    ),
    version="1",
    build=build,
    options=Options,
    package=Package(
        name="sweethome3d-furniture",
        fetch="apt-get download sweethome3d-furniture",
        holds="usr/share/sweethome3d/furniture",
    ),
    distributions=("trimesh", "embreex"),
    extra="sets",
    source={"modality": "image", "size": 96},
    target={"modality": "depth", "size": 96, "near": NEAREST - 0.05, "far": LIMIT, "encoding": "log"},
)
