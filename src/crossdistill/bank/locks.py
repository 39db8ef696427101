"""Locks between processes: a lock ends with the process that holds it, however that ends.

They are ``flock`` locks, which network file systems carry from machine to machine (NFS from Linux 2.6.12 on; Lustre
when mounted with ``flock``). On Windows there are none, and one process alone may build a bank.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crossdistill.files import storage_errors

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock ``path``, waited for."""
    with storage_errors(path):
        stream = path.open("ab")
    with stream:
        take(stream, path)
        yield


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether the lock ``path`` could be had at once; it is then held for the block.

    Raises:
        FileNotFoundError: its folder is gone.
    """
    with storage_errors(path, but=FileNotFoundError):
        stream = path.open("ab")
    with stream:
        yield take(stream, path, wait=False)


def take(stream: BinaryIO, path: Path, *, wait: bool = True, shared: bool = False) -> bool:
    """Locks an open file, or says that it could not be had at once. A lock that is held changes its kind."""
    if sys.platform == "win32":
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        with storage_errors(path) if wait else _nothing():
            fcntl.flock(stream, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _nothing() -> Iterator[None]:
    yield
