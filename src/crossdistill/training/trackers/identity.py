"""A name for a run that stays the same when it is resumed."""

from __future__ import annotations

import uuid
from pathlib import Path

from crossdistill.files import write_text


def run_identity(folder: Path) -> str:
    """Sixteen hexadecimal digits, drawn once and kept in the run folder."""
    path = folder / "trackers.id"
    if not path.is_file():
        write_text(path, uuid.uuid4().hex[:16] + "\n")
    return path.read_text(encoding="utf-8").strip()
