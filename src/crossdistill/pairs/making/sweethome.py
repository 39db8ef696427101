"""The furniture libraries of Sweet Home 3D: catalogues of meshes with their names, sizes and authors.

A library is a ``.sh3f`` file: a zip with OBJ models and one ``PluginFurnitureCatalog.properties`` that describes them
(https://www.sweethome3d.com/importModels.jsp).
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crossdistill.errors import PairsError

CATALOGUE = "PluginFurnitureCatalog.properties"
_MOST_BYTES = 64 << 20  # of one file in a library; the largest model has 9 MB
_AXES = ("width", "height", "depth")  # x, y (up), z in the catalogue's words

CLASSES = (
    "appliance", "bed", "cabinet", "chair", "door or window", "electronics", "lamp", "person", "plant", "sanitary",
    "sofa", "table", "tableware", "vehicle",
)  # fmt: skip

# The catalogue sorts by the room that a thing belongs to, where a sofa and a potted plant are one category. Its names
# and tags say what the thing is: the first rule whose three patterns (category, name, tags) are all found decides.
_RULES: tuple[tuple[str | None, str, str, str], ...] = (
    (None, "", r"\b(tennis|football|pool table|changing|fan|cup cake|spray bottle)\b", ""),
    ("person", "Characters", "", "Human"),
    ("vehicle", "Vehicles", "", ""),
    ("door or window", "Doors and windows", r"^(?!elevator).*(door|window)", ""),
    ("lamp", "Lights", "", ""),
    ("plant", "", r"^(?!vase)", r"\b(Plant|Tree|Flowers)\b"),
    ("plant", "", r"\b(plant|cactus|bush|tree|flowers)\b", ""),
    ("sanitary", "Bathroom", r"\b(toilets|(wash)?basin|bath(tub)?|bidet|urinal|lavatory|vanity|shower stall)\b", ""),
    ("cabinet", "", r"\b(bedside|wardrobe|cupboard|cabinet|bookcase|shelves|dresser|chest$|tv stand|living room)", ""),
    ("cabinet", "Kitchen", "^(island|sink)", ""),
    ("appliance", "", r"\b(fridge|refrigerator|oven|stove|hood|cooktop|(washing|dryer) machine|water heater)\b", ""),
    ("appliance", "Kitchen", "", r"\bAppliance\b"),
    ("electronics", "", "", r"\b(Electronics|Computer|Television|HiFi)\b"),
    ("bed", "", r"\b(bed|crib|futon$|mattress)\b", ""),
    ("bed", "", "opened convertible sofa", ""),
    ("sofa", "", r"\b(sofa|couch)\b", ""),
    ("chair", "Office", r"\barmchair\b", ""),
    ("sofa", "", r"\barmchair\b", ""),
    ("chair", "", r"\b(chair|stool|class seat|lounge)\b", ""),
    ("table", "", r"\b(table|desk)$|\btable (on|with)\b", ""),
    ("tableware", "", r"\b(bottle|glass|cup|mug|bowl|plate|pan|jar|pottery|teapot|boiler|kettle|press|vase)\b", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Furniture:
    """One entry of a catalogue.

    Attributes:
        id: unique over all libraries.
        stem: the id as a file name.
        label: one of :data:`CLASSES`; None where none of them fits.
        library: the ``.sh3f`` file.
        model: the OBJ file in it.
        size: width, height and depth (x, y up, z) in metres.
        rotation: rows of a matrix that turns the model before it is fitted to the size.
        elevation: of its lower end above the floor, in metres; more than 0 for what hangs on a wall or a ceiling.
        author, licence: for credits.
    """

    id: str
    stem: str
    name: str
    label: str | None
    library: Path
    model: str
    size: tuple[float, float, float]
    rotation: tuple[float, ...]
    elevation: float
    author: str
    licence: str

    @property
    def on_wall(self) -> bool:
        """Whether its back belongs to a wall."""
        return self.elevation > 0 or self.label == "door or window"


def class_of(category: str, name: str, tags: str) -> str | None:
    """The class of a catalogue's entry, by the first rule that fits."""
    for label, *patterns in _RULES:
        if all(re.search(p, text, re.I) for p, text in zip(patterns, (category, name, tags), strict=True)):
            return label
    return None


def read_libraries(folder: Path) -> list[Furniture]:
    """All furniture of the ``.sh3f`` files in ``folder``, in the order of their names.

    Raises:
        PairsError: there is none, one is no library, or a catalogue lacks what an entry needs.
    """
    files = sorted(folder.glob("*.sh3f"))
    if not files:
        raise PairsError("The folder holds no furniture library.", where=folder, expected="files *.sh3f")
    found = [furniture for file in files for furniture in _read_library(file)]
    seen: set[str] = set()
    for furniture in found:
        if furniture.stem in seen:
            raise PairsError("Two pieces of furniture have the same id.", where=folder, received=furniture.id)
        seen.add(furniture.stem)
    return found


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of one file of a library.

    Raises:
        KeyError: it is not there.
        ValueError: it is larger than any file of a library should be.
    """
    size = archive.getinfo(name).file_size
    if size > _MOST_BYTES:
        raise ValueError(f"{name} has {size:,} bytes, where {_MOST_BYTES:,} are the most")
    return archive.read(name)


def _read_library(file: Path) -> Iterator[Furniture]:
    try:
        with zipfile.ZipFile(file) as archive:
            text = read_member(archive, CATALOGUE).decode("latin-1")  # the encoding of Java's .properties files
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise PairsError("A furniture library cannot be read.", where=file, expected=f"a zip with {CATALOGUE}",
                         received=error, fix="fetch the package again") from error  # fmt: skip
    library: dict[str, str] = {}
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        if match := re.match(r"\s*(\w+)(?:#(\d+))?\s*=\s*(.*)", line):
            place = library if match[2] is None else entries[int(match[2])]
            place[match[1]] = _unescaped(match[3]).strip()
    for number, entry in sorted(entries.items()):
        try:
            yield _furniture(file, entry, library.get("license", ""))
        except (KeyError, ValueError) as error:
            received = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise PairsError("A catalogue's entry is incomplete.", where=f"{file}: {CATALOGUE}, #{number}",
                             received=received, fix="fetch the package again") from error  # fmt: skip


def _unescaped(text: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})|\\(.)", lambda m: chr(int(m[1], 16)) if m[1] else m[2], text)


def _furniture(file: Path, entry: dict[str, str], licence: str) -> Furniture:
    width, height, depth = (float(entry[axis]) / 100 for axis in _AXES)
    rotation = tuple(float(value) for value in entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split())
    if not all(0 <= side < 1e3 for side in (width, height, depth)) or len(rotation) != 9:
        raise ValueError(f"size {width} x {height} x {depth} m, rotation {rotation}")
    stem = re.sub(r"[^a-z0-9]+", "-", entry["id"].lower()).strip("-")
    if not stem:
        raise ValueError(f"id {entry['id']!r}")
    model = str(PurePosixPath(entry["model"].lstrip("/")))
    return Furniture(
        id=entry["id"], stem=stem, name=entry["name"],
        label=class_of(entry["category"], entry["name"], entry.get("tags", "")), library=file, model=model,
        size=(width, height, depth), rotation=rotation, elevation=max(0.0, float(entry.get("elevation") or 0) / 100),
        author=entry.get("creator", ""), licence=licence,
    )  # fmt: skip
