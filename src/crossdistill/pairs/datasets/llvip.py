"""``llvip``: LLVIP, visible and infrared pictures of the same streets at night (Jia et al., ICCV workshops 2021).

Layout: ``visible/{train,test}/010001.jpg`` and ``infrared/{train,test}/010001.jpg``; ``Annotations`` is not read, as
its boxes are no labels of whole pictures. Groups are the first two digits of the name, which count the scenes.
Checked against the official repository: the layout, 30,976 pictures, 26 scenes, the licence; and against copies of the
read-me file of the set: 12,025 pairs for training and 3,463 for testing. That the first two digits are the scene is not
confirmed by the authors' text; the names and the split agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossdistill.pairs.field.base import FieldSet, SplitOptions, report_missing, verify_counts
from crossdistill.pairs.field.field_files import files_in, locate, set_root
from crossdistill.pairs.table import Licence, Pair, Split

HOME = "https://bupt-ai-cz.github.io/LLVIP/"
COUNTS = {"train": (12_025,), "test": (3_463,)}


class Options(SplitOptions):
    """Settings of the set."""


def read(options: Options) -> list[Pair]:
    """One row a picture; where one of a pair is missing the other stands alone."""
    root = set_root(options.root, HOME)
    base = locate(root, ["visible", "LLVIP/visible"], "the visible pictures", HOME).parent
    locate(base, ["infrared"], "the infrared pictures", HOME)
    rows: list[Pair] = []
    splits: Sequence[Split] = ("train", "test")
    for split in splits:
        visible, infrared = (
            {path.name: path for path in files_in(base / side / split, [".jpg"])} for side in ("visible", "infrared")
        )
        names = sorted(visible.keys() | infrared.keys())
        alone = [_partner(base, split, name, name in visible) for name in names
                 if name not in visible or name not in infrared]  # fmt: skip
        report_missing("llvip", f"partners of pictures in {split}", alone, len(names), options.verify)
        rows += [
            Pair(
                source=visible.get(name), target=infrared.get(name), split=split, group=f"scene {name[:2]}",
                where=f"{split}/{name}",
            )
            for name in names
        ]  # fmt: skip
    found: dict[str, int] = {split: sum(row.paired and row.split == split for row in rows) for split in splits}
    verify_counts("llvip", COUNTS, found, options.verify)
    return rows


def _partner(base: Path, split: str, name: str, is_visible: bool) -> str:
    return str(base / ("infrared" if is_visible else "visible") / split / name)


DATASET = FieldSet(
    name="llvip",
    summary="LLVIP: visible -> infrared pictures of streets at night",
    home=HOME,
    licence=Licence(
        name="LLVIP Dataset licence, non-commercial use alone",
        url="https://github.com/bupt-ai-cz/LLVIP/blob/main/Term%20of%20Use%20and%20License.md",
        attribution="X. Jia, C. Zhu, M. Li, W. Tang, W. Zhou: LLVIP (ICCV workshops 2021).",
    ),
    options=Options,
    read=read,
    counts=COUNTS,
    target={"modality": "thermal"},
)
