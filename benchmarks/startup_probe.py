"""One `crossdistill distill` in this process, timed until its first training step: run by startup.py.

`python startup_probe.py STARTED CONFIG.yaml` prints one JSON object: seconds by item. STARTED is the time at which the
process was started. A function's seconds are its own: what another item of the list takes inside it is not in them.
"""

from __future__ import annotations

import time

_INTERPRETER_UP = time.time()

import functools  # noqa: E402
import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

# Where a function is called by this name. One that is not there is left out: its time is then in what calls it.
ITEMS = {
    "opening pairs": ["crossdistill.pipeline.work:open_pairs"],
    "checks beforehand": ["crossdistill.pipeline.commands:begin"],
    "decoding": ["crossdistill.pairs.items:Items.of"],
    "teacher": ["crossdistill.pipeline.stages:fresh_teacher", "crossdistill.pipeline.work:fresh_teacher"],
    "bank": ["crossdistill.pipeline.stages:build_bank"],
    "writing the teacher": ["crossdistill.pipeline.stages:save_encoder"],
    "student": ["crossdistill.pipeline.stages:fresh_student", "crossdistill.pipeline.work:build_student"],
    "first step": ["crossdistill.pipeline.stages:distil"],
}


class FirstStepError(BaseException):
    """Ends the run: no error, but the way out of any loop."""


class Clock:
    """Gives every moment to the innermost item at work.

    Attributes:
        seconds: by item.
        since: when the last turn was.
    """

    def __init__(self, since: float) -> None:
        self.seconds: dict[str, float] = {}
        self._at_work = ["anything else"]
        self.since = since

    def turn(self) -> None:
        """Gives the time since the last turn to the item at work."""
        now = time.time()
        item = self._at_work[-1]
        self.seconds[item] = self.seconds.get(item, 0.0) + now - self.since
        self.since = now

    def timed(self, item: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which is at work for ``item`` while it runs."""

        @functools.wraps(function)
        def watched(*arguments: Any, **more: Any) -> Any:
            self.turn()
            self._at_work.append(item)
            try:
                return function(*arguments, **more)
            finally:
                self.turn()
                self._at_work.pop()

        return watched


def watch(clock: Clock) -> list[str]:
    """Puts the clock around all of ITEMS; the ones that are not where they were are given back."""
    lost = []
    for item, places in ITEMS.items():
        for place in places:
            module, _, name = place.partition(":")
            *parents, last = name.split(".")
            try:
                owner = functools.reduce(getattr, parents, importlib.import_module(module))
                function = getattr(owner, last)
            except (ImportError, AttributeError):
                lost.append(place)
                continue
            setattr(owner, last, clock.timed(item, function))
    return lost


def main() -> None:
    """Runs and prints."""
    started, config = float(sys.argv[1]), sys.argv[2]
    from crossdistill.cli.app import app

    import_ended = time.time()
    import crossdistill.pipeline  # what the command imports  # noqa: F401

    clock = Clock(time.time())
    seconds = {
        "interpreter": _INTERPRETER_UP - started,
        "imports of the command line": import_ended - _INTERPRETER_UP,
        "imports": clock.since - import_ended,
    }
    lost = watch(clock)
    from torch.optim.optimizer import register_optimizer_step_post_hook

    def first_step(*_: Any) -> None:
        clock.turn()
        raise FirstStepError

    register_optimizer_step_post_hook(first_step)
    try:
        app(["distill", config], standalone_mode=False)
    except FirstStepError:
        taken = {**seconds, **clock.seconds}
        print(json.dumps({"seconds": taken, "total": sum(taken.values()), "lost": lost}))


if __name__ == "__main__":
    main()
