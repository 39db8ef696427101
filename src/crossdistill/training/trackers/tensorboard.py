"""TensorBoard's event files in ``RUN/tensorboard``: ``tensorboard --logdir RUN/tensorboard`` shows them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from crossdistill.files import storage_errors
from crossdistill.training.trackers.base import Tracker

_FLUSH = 10.0  # seconds


class TensorBoard(Tracker):
    """One folder of events a stage, so that the stages of a run lie over each other in the charts.

    Events are written here and not by tensorboardX's own thread: when that dies (a full disk, a clock that jumps), its
    queue fills up, and whoever puts something into it waits for ever.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._writers: dict[str, EventsWriter] = {}
        self._flushed = time.monotonic()

    @classmethod
    def open(cls, folder: Path, config: dict[str, Any]) -> Self:
        """See the base class."""
        del config  # the run folder holds it
        return cls(folder)

    def begin(self, stage: str, step: int) -> None:
        """Starts a file of events that hides what an earlier one says of the steps after ``step``."""
        place = self._folder / stage.replace("/", "-")
        with storage_errors(self._folder):
            place.mkdir(parents=True, exist_ok=True)
            writer = self._writers[stage] = EventsWriter(str(place / "events"), f".{step}")
            if step:
                writer.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
            writer.flush()

    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """See the base class."""
        if stage not in self._writers:
            self.begin(stage, 0)
        writer = self._writers[stage]
        with storage_errors(self._folder):
            for name, value in values.items():
                writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            if time.monotonic() - self._flushed > _FLUSH:
                self._flushed = time.monotonic()
                writer.flush()

    def close(self) -> None:
        """See the base class."""
        with storage_errors(self._folder):
            for writer in self._writers.values():
                writer.close()


TRACKER = TensorBoard
