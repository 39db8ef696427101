"""Atomic writes and content hashes: a file of ours is either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossdistill.errors import RunFolderError, StorageError

_SLACK = 1 << 20  # bytes left for others


@contextmanager
def storage_errors(path: Path, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turns an operating system's refusal to write ``path`` into a :class:`StorageError`, ``but`` one kind of it."""
    try:
        yield
    except OSError as error:
        if isinstance(error, but):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem, fix = "The disk is full.", "free some space and run the same command again: it goes on"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            problem, fix = "A file stands where a folder should be, or the reverse.", "choose another output path"
        else:
            problem, fix = "This place cannot be written.", "choose another output folder or change its permissions"
        raise StorageError(problem, where=path, received=error.strerror, fix=fix) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write to; it takes ``path``'s place only when the block ends well.

    Raises:
        StorageError: the disk is full or the folder cannot be written; ``path`` is then as it was before.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes the file private; give it the permissions that any new file would have.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | memoryview, *, durable: bool = False) -> None:
    """Writes ``data`` to ``path`` atomically; ``durable``: so that it survives a power cut, too."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` in UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as strict, indented JSON (NaN and infinities are refused), atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def require_space(path: Path, size: int, what: str) -> None:
    """Refuses to begin what will not fit on the disk.

    Args:
        path: where it will be written; the folder need not be there yet.
        size: bytes that are needed.
        what: for the message, such as "a checkpoint".

    Raises:
        StorageError: less is free, with some slack for other writers.
    """
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < size + _SLACK:
        raise StorageError(
            f"There is no room for {what}.", where=path, expected=f"{(size + _SLACK) / 2**20:,.0f} MiB free",
            received=f"{free / 2**20:,.0f} MiB free",
            fix="free some space and run the same command again: it goes on",
        )  # fmt: skip


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run folder.

    Raises:
        RunFolderError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError("A file of the run is missing.", where=path, fix="run the stage that writes it") from error
    except (ValueError, RecursionError) as error:  # also of bytes that are no UTF-8
        raise RunFolderError("A file of the run is damaged.", where=path, received=error) from error


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where rendered data sets are kept: ``$CROSSDISTILL_CACHE``, else the user's cache folder."""
    explicit = os.environ.get("CROSSDISTILL_CACHE")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "crossdistill"
