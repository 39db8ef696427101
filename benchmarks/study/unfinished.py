"""The trials of a task that is not finished, in one file: whoever has that file goes on there, on any machine."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.record import RESULTS
from crossdistill.files import read_json, write_json

_RESULT = "result.json"


def file_of(name: str) -> Path:
    """Where they are kept."""
    return RESULTS / "unfinished" / f"study-{name}-trials.json"


def keep(name: str, cells: Path) -> int:
    """Writes down what has been tried, one trial a line; says how many.

    Args:
        name: of the task.
        cells: folder of the comparison's cells.
    """
    found = {place.parent.name: read_json(place) for place in sorted(cells.glob(f"*/{_RESULT}"))}
    trials = {key: result for key, result in found.items() if result["measured_on"] == "val"}
    if trials:
        file_of(name).parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(result)}" for key, result in trials.items())
        file_of(name).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return len(trials)


def restore(name: str, cells: Path) -> int:
    """Puts those of the file that are missing beside the other cells; says how many."""
    if not file_of(name).is_file():
        return 0
    missing = {key: each for key, each in read_json(file_of(name)).items() if not (cells / key / _RESULT).is_file()}
    for key, result in missing.items():
        (cells / key).mkdir(parents=True, exist_ok=True)
        write_json(cells / key / _RESULT, result)
    return len(missing)
