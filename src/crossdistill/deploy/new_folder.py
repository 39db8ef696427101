"""A folder that is there whole, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossdistill.errors import RunFolderError
from crossdistill.files import storage_errors


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the place of ``out`` when the block ends well, and is gone otherwise.

    What killed processes left of earlier ones of the same name is removed first.

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
        _remove_leftovers(out)
        work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.{_host()}-{os.getpid()}.", suffix=".part"))
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


def _remove_leftovers(out: Path) -> None:
    """Removes unfinished folders of this name whose process, of this machine, lives no longer."""
    named = re.compile(rf"\.{re.escape(out.name)}\.{_host()}-(\d+)\.\w+\.part")
    for path in out.parent.iterdir():
        found = named.fullmatch(path.name)
        if found is not None and path.is_dir() and not path.is_symlink() and not _lives(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _host() -> str:
    """Of this machine, as another one may share the disk: there the number means another process."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _lives(process: int) -> bool:
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True
