"""Pairs from two folders whose files have the same relative stem (``rgb/a/7.jpg`` and ``depth/a/7.png``)."""

from __future__ import annotations

from pathlib import Path

from crossdistill.errors import PairsError
from crossdistill.pairs.table import Pair, Pairs


def read_folders(source: Path, target: Path, *, label_is_parent: bool = False, group_is_parent: bool = False) -> Pairs:
    """Matches the files below two folders by their path without the ending; hidden files are left out.

    Files without a partner become unpaired items. With ``label_is_parent`` (``group_is_parent``) the name of the
    sub-folder a file lies in is its label (group).

    Raises:
        PairsError: a folder is missing or empty, two files of one folder have the same stem, or nothing matches.
    """
    sources, targets = _stems(source), _stems(target)
    if not sources.keys() & targets.keys():
        raise PairsError(
            "No file of one folder has a partner in the other.",
            where=f"{source} and {target}",
            expected="the same relative path up to the ending, such as a/7.jpg and a/7.png",
            received=f"for instance {min(sources)} and {min(targets)}",
        )
    rows = []
    for stem in sorted(sources.keys() | targets.keys()):
        parent = Path(stem).parent.name or None
        if (label_is_parent or group_is_parent) and parent is None:
            raise PairsError(
                "A file lies in no sub-folder, so it has no label or group.",
                where=sources.get(stem) or targets.get(stem),
                fix="move it into a sub-folder, or drop pairs.label / pairs.group",
            )
        rows.append(
            Pair(
                source=sources.get(stem),
                target=targets.get(stem),
                label=parent if label_is_parent else None,
                group=parent if group_is_parent else None,
                where=f"stem {stem}",
            )
        )
    return Pairs(tuple(rows), name=f"{source.name}-{target.name}")


def single_side(name: str, folder: Path) -> list[Pair]:
    """The items of a folder of one modality.

    Args:
        name: ``unpaired_source``, ``unpaired_target``, or ``labelled_target``, whose sub-folders are the labels.
        folder: where they lie.

    Raises:
        PairsError: it is missing or empty, or a labelled item lies in no sub-folder.
    """
    side = name.rpartition("_")[2]
    rows = []
    for stem, path in _stems(folder).items():
        label = Path(stem).parent.name or None if name == "labelled_target" else None
        if name == "labelled_target" and label is None:
            raise PairsError(
                "A labelled item lies in no sub-folder, so it has no label.", where=path,
                fix=f"move it into a sub-folder that is named after its class, or use unpaired_{side}",
            )  # fmt: skip
        source, target = (path, None) if side == "source" else (None, path)
        rows.append(Pair(source=source, target=target, label=label, where=f"{name}, {stem}"))
    return rows


def _stems(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise PairsError("The folder is missing.", where=folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        stem = relative.with_suffix("").as_posix()
        if stem in found:
            raise PairsError(
                "Two files have the same stem.", where=f"{found[stem]} and {path}", fix="rename one of them"
            )
        found[stem] = path
    if not found:
        raise PairsError("The folder holds no files.", where=folder)
    return found
