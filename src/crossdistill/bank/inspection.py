"""What lies in a bank's folder, finished or half built, and whether it is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossdistill.bank import bank, maps, views
from crossdistill.bank.description import Description, read_description
from crossdistill.bank.half_built import half_built, marked
from crossdistill.bank.packed import Packed, Place, check_shards, settle
from crossdistill.bank.refusals import refuse_first_format
from crossdistill.errors import RunFolderError


def describe_bank(folder: Path) -> list[dict[str, Any]]:
    """The packed matrices in a folder: name, state, rows, width, dtype, bytes, shards, and what they are of.

    Raises:
        RunFolderError: there is none, or its description is damaged.
    """
    return [_described(place, plan, finished) for place, plan, finished in _matrices(folder)]


def verify_bank(folder: Path) -> list[str]:
    """Checks structure and checksums of all shards; for each matrix one line about what was checked.

    Raises:
        RunFolderError: something is damaged; the message has the command that mends it.
    """
    lines = []
    for place, plan, finished in _matrices(folder):
        size = f"{plan.rows} x {plan.width} {plan.dtype}"
        if finished:
            Packed.open(place, "all")
            lines.append(f"{place.data}: whole, {size}, {len(plan.shards)} shards")
        else:
            done = marked(place, plan)
            data = place.building / place.data.name
            check_shards(data, plan.model_copy(update={"shards": []}), sorted(done.items()), place.build)
            lines.append(
                f"{data}: half built, {size}, {len(done)} of {len(plan.shards)} shards done, and these are whole"
            )
    return lines


def _matrices(folder: Path) -> list[tuple[Place, Description, bool]]:
    """Place, description or plan, and whether it is finished. A finished matrix and its extension may both be there."""
    refuse_first_format(folder)
    found = []
    several = {file.stem for kind in (bank.NAME, views.NAME, maps.NAME) for end in ("json", "building")
               for file in folder.glob(f"{kind}-*.{end}")}  # fmt: skip
    for name in (bank.NAME, views.NAME, maps.NAME, *sorted(several)):
        place = Place(folder, name)
        settle(place)
        if place.description.is_file():
            found.append((place, read_description(place.description, f"run: {place.rebuild}"), True))
        plan = half_built(place)
        if plan is not None:
            found.append((place, plan, False))
    if not found:
        raise RunFolderError(
            "There is no teacher bank.", where=folder, expected="a bank's folder, or a run folder with one",
            fix=f"build it: {Place(folder, bank.NAME).build}",
        )  # fmt: skip
    return found


def _described(place: Place, plan: Description, finished: bool) -> dict[str, Any]:
    return {
        "file": str(place.data if finished else place.building / place.data.name),
        "state": "finished" if finished else "half built",
        "rows": plan.rows,
        "width": plan.width,
        "dtype": plan.dtype,
        "bytes": plan.layout.size,
        "shards": len(plan.shards),
        "shards_done": len(plan.shards if finished else marked(place, plan)),
        "key": plan.key,
        **plan.about,
    }
