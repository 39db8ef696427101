"""What has been computed of a task that is not finished, in one archive: another machine that has it goes on there."""

from __future__ import annotations

import tarfile
from pathlib import Path

from benchmarks.record import RESULTS
from crossdistill.files import atomic_path, read_json

_RESULT, _OUTCOMES = "result.json", "outcomes.safetensors"


def file_of(name: str) -> Path:
    """Where it is kept."""
    return RESULTS / "unfinished" / f"study-{name}.tar.xz"


def keep(name: str, cells: Path) -> int:
    """Writes the archive, and says of how many cells.

    Trials are compared by their metrics, final runs also by what each item gave.

    Args:
        name: of the task.
        cells: folder of the comparison's cells.
    """
    results = sorted(cells.glob(f"*/{_RESULT}"))
    if not results:
        return 0
    with atomic_path(file_of(name)) as path, tarfile.open(path, "w:xz", preset=9) as archive:
        for result in results:
            about = read_json(result)
            final = about["measured_on"] == "test" and not about["failed"]
            for file in (result, *([result.with_name(_OUTCOMES)] if final else [])):
                archive.add(file, arcname=str(file.relative_to(cells)))
    return len(results)


def restore(name: str, cells: Path) -> int:
    """Puts the archive's cells that are missing beside the others; says how many."""
    if not file_of(name).is_file():
        return 0
    with tarfile.open(file_of(name), "r:xz") as archive:
        members = archive.getmembers()
        there = {member.name.split("/")[0] for member in members if (cells / member.name).is_file()}
        missing = [member for member in members if member.name.split("/")[0] not in there]
        # Outcomes first: a cell counts as done once its result is there.
        for member in sorted(missing, key=lambda member: member.name.endswith(_RESULT)):
            archive.extract(member, cells, filter="data")
    return sum(member.name.endswith(_RESULT) for member in missing)
