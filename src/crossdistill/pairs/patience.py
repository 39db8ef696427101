"""A limit on how long reading one item may take: a network disk that hangs should not hang a job for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from crossdistill.errors import PairsError


class _TooLong(BaseException):
    """Not an Exception, so that no decoder takes it for a damaged file."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends the block after ``seconds``.

    It works by an alarm signal, which interrupts waiting for a disk or a network; where there is none (another thread
    than the main one, Windows) or somebody else uses it, there is no limit.

    Raises:
        PairsError: the time is up.
    """
    free = (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) in (signal.SIG_DFL, None)
    )
    if not free:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TooLong:
        raise PairsError(
            "Reading an item takes too long.", expected=f"at most {seconds:g} s (train.read_timeout)",
            received="no answer", fix="check the disk or the network that it lies on, and run the same command again",
        ) from None  # fmt: skip
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
