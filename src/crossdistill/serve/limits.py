"""What a request may cost, and how it is refused beyond that."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from crossdistill.errors import CrossDistillError

MIB = 1 << 20
_LONGEST_NAME = 80


class RefusedError(CrossDistillError):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
    """

    status = 400

    def __init__(self, problem: str, *, status: int, where: object = None, expected: object = None,
                 received: object = None, fix: str | None = None) -> None:  # fmt: skip
        super().__init__(problem, where=where, expected=expected, received=received, fix=fix)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        """It comes back from another process as it was."""
        return _refused, (self.problem, self.status, self.details)


def _refused(problem: str, status: int, details: dict[str, str]) -> RefusedError:
    made = RefusedError(problem, status=status)
    made.details = details
    return made


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of what one request, and all of them together, may take.

    Attributes:
        upload_bytes: of a request's body.
        json_bytes: of a body in JSON, which takes far more time and memory than a file of the same length.
        header_seconds: until a connection has sent the header of a request.
        body_seconds: until all of a body has come.
        pixels: of a picture or raster, by its header, before anything is decoded.
        sound_seconds: of a sound, by its header.
        decode_seconds: for reading one item; then the process that reads it is killed.
        decode_bytes: of memory that reading one item may take (on Linux).
        decoders: processes that read items.
        request_seconds: for all of a request's work.
        waiting: requests at work or waiting for it, and bodies that are read; more are refused at once.
        connections: open at a time.
        results: items of one answer.
        files: of one request.
        kept: queries of the page that are kept in memory, to ask other runs with them.
        kept_bytes: of all of these together.
        kept_seconds: until one is forgotten.
    """

    upload_bytes: int = 16 * MIB
    json_bytes: int = 2 * MIB
    header_seconds: float = 15.0
    body_seconds: float = 30.0
    pixels: int = 25_000_000
    sound_seconds: float = 300.0
    decode_seconds: float = 10.0
    decode_bytes: int = 2048 * MIB
    decoders: int = 2
    request_seconds: float = 30.0
    waiting: int = 32
    connections: int = 256
    results: int = 100
    files: int = 16
    kept: int = 64
    kept_bytes: int = 256 * MIB
    kept_seconds: float = 1800.0


LIMITS = Limits()


class Deadline:
    """The moment at which a request's work ends, whoever does it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    @property
    def refusal(self) -> RefusedError:
        """What is said after it."""
        return RefusedError("The request takes too long.", status=504, expected=f"at most {self._seconds:g} s")

    def left(self) -> float:
        """Seconds, above 0.

        Raises:
            RefusedError: it has passed (504).
        """
        found = self._until - time.monotonic()
        if found <= 0:
            raise self.refusal
        return found


class Admission:
    """Counts the requests at work, and refuses more than may wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._lock = threading.Lock()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Around a request's work.

        Raises:
            RefusedError: as many as may are at work or waiting (503).
        """
        with self._lock:
            if self.count >= self.most:
                raise RefusedError(
                    "The server is busy.", status=503, expected=f"at most {self.most} requests at a time",
                    received="one more", fix="ask again in a second",
                )  # fmt: skip
            self.count += 1
        try:
            yield
        finally:
            with self._lock:
                self.count -= 1


def safe_name(name: str | None) -> str:
    """The last part of an upload's name, in letters that no path or page can be made of; it only tells the format."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", last).strip(" .")
    return plain[-_LONGEST_NAME:].lstrip(" .") or "item"
