"""A folder that is there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossdistill.errors import RunFolderError
from crossdistill.files import storage_errors


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the place of ``out`` when the block ends well, and is gone otherwise.

    Raises:
        RunFolderError: ``out`` holds something already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(
            "The output folder holds something else.", where=out, expected="a new or empty folder",
            fix="choose another --out, or delete this one",
        )  # fmt: skip
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
        try:
            yield work
            mask = os.umask(0)  # mkdtemp makes it private; give it the permissions of any new folder
            os.umask(mask)
            work.chmod(0o777 & ~mask)
            if out.exists():
                out.rmdir()
            work.replace(out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
