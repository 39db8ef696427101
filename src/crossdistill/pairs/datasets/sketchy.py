"""``sketchy``: the Sketchy Database, photos and the sketches that were drawn of each of them (SIGGRAPH 2016).

Layout, as the archives ``rendered_256x256`` and ``info`` unpack::

    256x256/photo/tx_000000000000/airplane/n02691156_10151.jpg
    256x256/sketch/tx_000000000000/airplane/n02691156_10151-1.png
    info/testset.txt, info/invalid-{error,ambiguous,pose,context}.txt

The official test photos are those of ``testset.txt``, ten a category; their sketches are the test sketches.
Checked against the official page and the read-me file of ``info``: the names, the four lists of invalid sketches,
12,500 photos, 125 categories, ten test photos each. The placements (``tx_...``) and the form of the lines in
``testset.txt`` (``airplane/n..._1.jpg``) and in the lists of invalid sketches (``n..._1-2``) were checked against
programs that read them alone. The paper has
75,471 sketches; counts of the archive by others are 75,479 and 75,481, and each of them is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from crossdistill.console import warn
from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, report_missing, verify_counts
from crossdistill.pairs.field.field_files import class_folders, files_in, list_lines, locate, set_root, wrong_line
from crossdistill.pairs.table import Licence, Pair

HOME = "https://sketchy.eye.gatech.edu/"
COUNTS = {"photos": (12_500,), "sketches": (75_471, 75_479, 75_481), "categories": (125,), "test photos": (1_250,)}

_SKETCH = re.compile(r"(n\d+_\d+)-(\d+)")
_INVALID = re.compile(r"(?:.*/)?(n\d+_\d+)[-,](\d+)(?:\.png)?")


class Options(SplitOptions):
    """Settings of the set."""

    photos: Literal["tx_000000000000", "tx_000100000000"] = Field(
        "tx_000000000000", description="the whole photo, or (0001) the object with a tenth around it"
    )
    sketches: Literal[
        "tx_000000000000", "tx_000100000000", "tx_000000000010", "tx_000000000110", "tx_000000001010",
        "tx_000000001110",
    ] = Field(
        "tx_000000000000", description="placed as in the photo, centred (0001), or moved to the object (the others)"
    )  # fmt: skip
    leave_out: tuple[Literal["error", "ambiguous", "pose", "context"], ...] = Field(
        (), description="kinds of sketches that the authors found invalid, to leave out"
    )
    info: Path | None = Field(None, description="folder of testset.txt; default: info below root")


def read(options: Options) -> list[Pair]:
    """One row a sketch, grouped by photo; a photo or sketch without a partner stands alone."""
    root = set_root(options.root, HOME)
    pictures = locate(root, ["256x256/photo", "rendered_256x256/256x256/photo", "photo"],
                      "the rendered pictures", HOME).parent  # fmt: skip
    info = options.info or locate(
        root, ["info/testset.txt", "info/info/testset.txt", "info-06-04/info/testset.txt", "testset.txt"],
        "the list of test photos", HOME,
    ).parent  # fmt: skip
    photos = {
        (folder.name, path.stem): path
        for folder in class_folders(pictures / "photo" / options.photos)
        for path in files_in(folder, [".jpg"])
    }
    sketches = [
        path for folder in class_folders(pictures / "sketch" / options.sketches) for path in files_in(folder, [".png"])
    ]
    test = _test_photos(info / "testset.txt", photos, options.verify)
    categories = {category for category, _ in photos}
    found = {"photos": len(photos), "sketches": len(sketches), "categories": len(categories), "test photos": len(test)}
    verify_counts("sketchy", COUNTS, found, options.verify)
    invalid = _invalid(info, options.leave_out)
    kept = [path for path in sketches if path.stem not in invalid]
    if options.leave_out:
        kinds = ", ".join(options.leave_out)
        warn(f"sketchy: {len(sketches) - len(kept):,} of {len(sketches):,} sketches are invalid ({kinds}), left out")
    drawn = {path: (path.parent.name, _photo_of(path)) for path in kept}
    missing = [f"{name}.jpg, of {path}" for path, (category, name) in drawn.items() if (category, name) not in photos]
    report_missing("sketchy", "photos of sketches", missing, len(drawn), options.verify)
    rows = [_row(*photo, photos.get(photo), path, test) for path, photo in drawn.items()]
    alone = photos.keys() - set(drawn.values())
    return rows + [_row(*photo, photos[photo], None, test) for photo in sorted(alone)]


def _photo_of(sketch: Path) -> str:
    match = _SKETCH.fullmatch(sketch.stem)
    if match is None:
        raise PairsError("A sketch has another name than sketches have.", where=sketch,
                         expected="a name such as n02691156_10151-1.png")  # fmt: skip
    return match[1]


def _row(category: str, name: str, photo: Path | None, sketch: Path | None, test: set[str]) -> Pair:
    file = sketch.name if sketch else f"{name}.jpg"
    return Pair(source=photo, target=sketch, label=category, split="test" if name in test else "train", group=name,
                where=f"{category}/{file}")  # fmt: skip


def _test_photos(path: Path, photos: Iterable[tuple[str, str]], verify: bool) -> set[str]:
    known, names = {name for _, name in photos}, dict[str, int]()
    for number, line in list_lines(path):
        name = line.rpartition("/")[2].removesuffix(".jpg")
        if not re.fullmatch(r"n\d+_\d+", name):
            raise wrong_line(path, number, "a photo such as airplane/n02691156_10151.jpg", line[:60])
        names[name] = number
    missing = [f"{path}, line {number}: {name}.jpg" for name, number in names.items() if name not in known]
    report_missing("sketchy", "photos of testset.txt", missing, len(names), verify)
    return names.keys() & known


def _invalid(info: Path, kinds: Sequence[str]) -> set[str]:
    found = set()
    for kind in kinds:
        path = info / f"invalid-{kind}.txt"
        for number, line in list_lines(path):
            match = _INVALID.fullmatch(line)
            if match is None:
                raise wrong_line(path, number, "a sketch such as n02691156_10151-1", line[:60])
            found.add(f"{match[1]}-{match[2]}")
    return found


DATASET = FieldSet(
    name="sketchy",
    summary="Sketchy Database: photo -> sketch of it, 125 categories",
    home=HOME,
    licence=Licence(
        name="see the official page", url=HOME,
        attribution="P. Sangkloy, N. Burnell, C. Ham, J. Hays: The Sketchy Database (SIGGRAPH 2016).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    target={"modality": "sketch"},
)  # fmt: skip
