"""Where the time of a step goes, when somebody wants to know (``train.profile``)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PHASES = ("data", "augmentation", "forward", "objective", "backward", "optimiser", "waiting", "other")
_WARM = 2  # steps that are left out: caches fill, kernels are chosen


class StepClock:
    """Seconds in each phase; a phase inside another is taken out of the outer one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stack: list[str] = []
        self._since = time.perf_counter()
        self._step: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.steps: list[dict[str, float]] = []

    def switch(self) -> None:
        """Books the time since the last switch on the phase that is running."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # else the time of a kernel is booked on whoever waits for it
        now = time.perf_counter()
        self._step[self._stack[-1] if self._stack else "other"] += now - self._since
        self._since = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Books the block on ``name``."""
        self.switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self.switch()
            self._stack.pop()

    def end_step(self) -> None:
        """Closes the account of a step."""
        self.switch()
        self.steps.append(self._step)
        self._step = dict.fromkeys(PHASES, 0.0)

    def summary(self) -> dict[str, object]:
        """Mean milliseconds a step and share of each phase, without the first steps."""
        counted = self.steps[_WARM:] or self.steps
        mean = {name: 1000 * sum(step[name] for step in counted) / max(1, len(counted)) for name in PHASES}
        whole = sum(mean.values()) or 1.0
        phases = {name: {"ms": round(value, 3), "share": round(value / whole, 4)} for name, value in mean.items()}
        return {"steps": len(counted), "ms": round(whole, 3), "phases": phases}


_running: list[StepClock] = []


@contextmanager
def running(clock: StepClock | None) -> Iterator[None]:
    """Within the block, :func:`phase` books on ``clock``."""
    if clock is None:
        yield
        return
    _running.append(clock)
    try:
        yield
    finally:
        _running.pop()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Books the block on the running clock, if there is one."""
    if not _running:
        yield
        return
    with _running[-1].phase(name):
        yield
