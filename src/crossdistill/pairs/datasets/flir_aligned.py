"""``flir-aligned``: FLIR ADAS pictures and thermal pictures, brought to the same view (Zhang et al., ICIP 2020).

Layout, as the archive ``align`` unpacks: ``JPEGImages/FLIR_00258_RGB.jpg`` and ``FLIR_00258_PreviewData.jpeg``, with
``align_train.txt`` and ``align_validation.txt`` (also below ``ImageSets/Main``), whose lines are
``FLIR_00258_PreviewData``. The official validation list is the test split; val is carved out of train. The pictures are
frames of drives whose limits are not published, so neighbouring frames may be in different splits.
Checked against programs that read the set alone: the layout, 4,129 and 1,013 lines. Not confirmed against the original.
"""

from __future__ import annotations

from pathlib import Path

from crossdistill.errors import PairsError
from crossdistill.pairs.field.base import FieldSet, SplitOptions, report_missing, verify_counts
from crossdistill.pairs.field.field_files import list_lines, locate, plain_name, set_root, wrong_line
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://github.com/zonaqiu/FLIR-align"
COUNTS = {"train": (4_129,), "test": (1_013,)}

_THERMAL = "_PreviewData"


class Options(SplitOptions):
    """Settings of the set."""


def read(options: Options) -> list[Pair]:
    """One row a line of the two lists."""
    root = set_root(options.root, HOME)
    pictures = locate(root, ["JPEGImages", "align/JPEGImages"], "the pictures", HOME)
    rows: dict[str, Pair] = {}
    lists: tuple[tuple[str, Split], ...] = (("align_train.txt", "train"), ("align_validation.txt", "test"))
    for name, split in lists:
        path = locate(pictures.parent, [name, f"ImageSets/Main/{name}"], "an official list", HOME)
        lines = list_lines(path)
        missing = []
        for number, line in lines:
            row = _row(path, number, line, pictures, split)
            if row.where in rows:
                raise PairsError("The lists name a picture twice.", where=f"{path}, line {number}", received=line)
            gone = [str(item) for item in (row.source, row.target) if isinstance(item, Path) and not item.is_file()]
            missing += gone[:1]
            if not gone:
                rows[row.where] = row
        report_missing("flir-aligned", f"pairs of {name}", missing, len(lines), options.verify)
    found: dict[str, int] = {split: sum(row.split == split for row in rows.values()) for _, split in lists}
    verify_counts("flir-aligned", COUNTS, found, options.verify)
    return list(rows.values())


def _row(path: Path, number: int, line: str, pictures: Path, split: Split) -> Pair:
    name = plain_name(path, number, line)
    stem = name.removesuffix(_THERMAL)
    if not stem.startswith("FLIR_"):
        raise wrong_line(path, number, "a name such as FLIR_00258_PreviewData", line[:60])
    visible, thermal = pictures / f"{stem}_RGB.jpg", pictures / f"{stem}{_THERMAL}.jpeg"
    return Pair(source=visible, target=thermal, split=split, group=stem, where=stem)


DATASET = FieldSet(
    name="flir-aligned",
    summary="FLIR ADAS, aligned: visible -> thermal pictures of roads",
    home=HOME,
    licence=Licence(
        name="see the terms of the FLIR thermal data set", url="https://www.flir.com/oem/adas/adas-dataset-form/",
        attribution="Teledyne FLIR; aligned by H. Zhang, E. Fromont, S. Lefevre, B. Avignon (ICIP 2020).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    target={"modality": "thermal"},
)  # fmt: skip
