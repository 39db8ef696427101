"""``tu-berlin``: 20,000 sketches of 250 categories, 80 each (Eitz, Hays and Alexa, SIGGRAPH 2012).

Layout, as ``sketches_png.zip`` or ``sketches_svg.zip`` unpacks: ``png/airplane/1.png`` and ``png/filelist.txt``, or the
same with ``svg``. There are no photos and no official split: the rows have a target alone, and a split is made as for
any pairs without one. A folder of the user's photos, with one sub-folder a category, becomes unpaired sources.
Checked against the official page: 20,000 sketches, 250 categories, evenly, the licence. The folder ``png`` and its
``filelist.txt`` were checked against programs that read them; the folder ``svg`` not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from crossdistill.errors import PairsError, nearest
from crossdistill.pairs.field.base import FieldOptions, FieldSet, report_missing, verify_counts
from crossdistill.pairs.field.field_files import PICTURES, class_folders, files_in, list_lines, locate, set_root
from crossdistill.pairs.table import Licence, Pair

HOME = "https://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/"
COUNTS = {"sketches": (20_000,), "categories": (250,), "sketches of the smallest category": (80,)}


class Options(FieldOptions):
    """Settings of the set."""

    format: Literal["png", "svg"] = Field("png", description="which of the two archives")
    photos: Path | None = Field(None, description="folder of photos, one sub-folder a category, as unpaired sources")


def read(options: Options) -> list[Pair]:
    """One row a sketch without a source, and one a photo without a target."""
    root = set_root(options.root, HOME)
    folder = root / options.format if (root / options.format).is_dir() else root
    sketches: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"*/*.{options.format}")):
        if not path.name.startswith("."):
            sketches.setdefault(path.parent.name, []).append(path)
    if not sketches:
        locate(root, [f"{options.format}/airplane/1.{options.format}"], f"sketches as {options.format.upper()}", HOME)
    listing = folder / "filelist.txt"
    if listing.is_file():
        lines = list_lines(listing)
        present = {f"{category}/{path.stem}" for category, files in sketches.items() for path in files}
        missing = [f"{listing}, line {number}: {line}" for number, line in lines
                   if line.replace("\\", "/").rpartition(".")[0] not in present]  # fmt: skip
        report_missing("tu-berlin", "sketches of filelist.txt", missing, len(lines), options.verify)
    sizes = [len(files) for files in sketches.values()]
    verify_counts(
        "tu-berlin", COUNTS,
        {"sketches": sum(sizes), "categories": len(sizes), "sketches of the smallest category": min(sizes, default=0)},
        options.verify,
    )  # fmt: skip
    rows = [
        Pair(source=None, target=path, label=category, where=f"{category}/{path.name}")
        for category, files in sketches.items()
        for path in files
    ]
    return rows if options.photos is None else [*rows, *_photos(options.photos, sorted(sketches))]


def _photos(folder: Path, categories: list[str]) -> list[Pair]:
    known = {_plain(category): category for category in categories}
    rows = []
    for each in class_folders(folder):
        if _plain(each.name) not in known:
            raise PairsError("A folder of photos is named after no category.", where=each,
                             expected=nearest(each.name, categories))  # fmt: skip
        files = files_in(each, PICTURES)
        if not files:
            raise PairsError("A folder of photos holds no pictures.", where=each, expected=", ".join(PICTURES))
        label = known[_plain(each.name)]
        rows += [Pair(source=path, target=None, label=label, where=f"photos/{label}/{path.name}") for path in files]
    return rows


def _plain(category: str) -> str:
    return category.replace("_", " ").lower()


DATASET = FieldSet(
    name="tu-berlin",
    summary="TU-Berlin sketches: 250 categories, no photos",
    home=HOME,
    licence=Licence(
        name="CC BY 4.0", url="https://creativecommons.org/licenses/by/4.0/",
        attribution="M. Eitz, J. Hays, M. Alexa: How Do Humans Sketch Objects? (SIGGRAPH 2012).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    target={"modality": "sketch"},
)  # fmt: skip
