"""The process that suffers: the real command line, with faults that strike at chosen moments in it alone.

Usage, as a command: ``python victim.py ARGUMENT...`` with hooks as JSON in ``CROSSDISTILL_FAULTS``. As a server
(``python victim.py --serve``) it imports everything once and forks a process for each line of JSON on standard input.

It stands alone, so that it can be started by its path, also by ``torchrun``.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import pathlib
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Hook = dict[str, Any]
"""``at`` (call, write, replace, unlink or clock), ``of`` (``module:name``, or an expression that a path has to match),
``nth``, ``point`` (before, half, after), ``do``, and what that needs; ``rank`` alone, ``once`` for all processes."""

_MODULES = (
    "crossdistill.cli.app", "crossdistill.cli.many", "crossdistill.cli.finish", "crossdistill.cli.bank",
    "crossdistill.cli.index", "crossdistill.pipeline", "crossdistill.report.render", "crossdistill.training.trackers",
)  # fmt: skip


class _Due:
    """Counts the moments of a hook, and says which is the one."""

    def __init__(self, hook: Hook) -> None:
        self.hook, self.left = hook, int(hook.get("nth", 1))

    def now(self) -> bool:
        self.left -= 1
        once = self.hook.get("once")
        return self.left == 0 and not (once and os.path.exists(once))  # noqa: PTH110  # pathlib is patched


def strike(hook: Hook) -> None:
    """What the fault does; most never return."""
    if hook.get("once"):
        os.close(os.open(hook["once"], os.O_CREAT | os.O_WRONLY))
    do = hook.get("do", "kill")
    if do in ("kill", "term", "int"):
        number = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}[do]
        os.kill(os.getpid(), number)
    elif do == "fifo":  # a reader waits for a writer that never comes
        os.unlink(hook["path"])  # noqa: PTH108
        os.mkfifo(hook["path"])
    elif do == "memory":  # no more than a little beyond what is in use
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + int(hook["bytes"])
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    elif do == "fill":  # somebody else takes the rest of the disk
        with builtins.open(hook["path"], "wb", buffering=0) as stream, suppress(OSError):  # noqa: PTH123
            while stream.write(bytes(1 << 12)):
                pass


class _Stream:
    """A file that breaks off half-way through its n-th write."""

    def __init__(self, stream: Any, due: _Due) -> None:
        self._stream, self._due = stream, due

    def write(self, data: Any) -> Any:
        if self._due.now():
            self._stream.write(data[: len(data) // 2])
            self._stream.flush()
            strike(self._due.hook)
            return self._stream.write(data[len(data) // 2 :])
        return self._stream.write(data)

    def __enter__(self) -> _Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._stream.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _around(original: Callable[..., Any], due: _Due, which: Callable[..., str | None]) -> Callable[..., Any]:
    """``original``, with a strike before or after the n-th call that ``which`` gives a matching name."""
    pattern = re.compile(due.hook["of"]) if due.hook["at"] != "call" else None

    def replaced(*arguments: Any, **options: Any) -> Any:
        name = which(*arguments)
        meant = (pattern is None or (name is not None and pattern.search(name) is not None)) and due.now()
        if meant and due.hook.get("do") == "junk":  # this process finds rubbish where others find the item
            return original(arguments[0], pathlib.Path(due.hook["path"]), *arguments[2:], **options)
        if meant and due.hook.get("point", "before") == "before":
            strike(due.hook)
        result = original(*arguments, **options)
        if meant and due.hook.get("point", "before") == "after":
            strike(due.hook)
        return result

    return replaced


def install(hooks: list[Hook]) -> None:
    """Puts the hooks into this process."""
    for hook in hooks:
        if "rank" in hook and os.environ.get("RANK", "0") != str(hook["rank"]):
            continue
        due, at = _Due(hook), hook["at"]
        if at == "call":
            _install_call(due)
        elif at == "write":
            _install_write(due)
        elif at in ("replace", "unlink"):
            which: Callable[..., str | None] = (
                (lambda _, to: str(to)) if at == "replace" else (lambda path, *_: str(path))
            )
            setattr(pathlib.Path, at, _around(getattr(pathlib.Path, at), due, which))
        elif at == "clock":
            drawn = random.Random(hook["seed"])
            time.time = lambda drawn=drawn: drawn.uniform(-1e6, 4e9)


def _install_call(due: _Due) -> None:
    module_name, _, name = due.hook["of"].partition(":")
    owner: Any = importlib.import_module(module_name)
    *owners, last = name.split(".")
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, last)
    replaced = _around(original, due, lambda *_: None)
    setattr(owner, last, replaced)
    for module in [found for key, found in sys.modules.items() if key.startswith("crossdistill")]:
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, replaced)


def _install_write(due: _Due) -> None:
    original, pattern = pathlib.Path.open, re.compile(due.hook["of"])

    def opened(path: pathlib.Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        stream = original(path, mode, *arguments, **options)
        wanted = set(mode) & set("wa+") and mode.startswith(due.hook.get("mode", ""))
        return _Stream(stream, due) if wanted and pattern.search(str(path)) else stream

    pathlib.Path.open = opened  # type: ignore[method-assign, assignment]


def command(arguments: list[str], hooks: list[Hook]) -> None:
    """The command line, as ``crossdistill`` starts it; does not return."""
    from crossdistill.cli.app import main

    install(hooks)
    sys.argv = ["crossdistill", *arguments]
    main()


def _child(request: dict[str, Any]) -> None:
    """In the forked process: its own output, then the command."""
    import traceback

    code = 1
    try:
        output = os.open(request["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        command(request["arguments"], request["hooks"])
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Forks a process for each request; tells its number, and how it ended."""
    # What a shell starts in the background ignores Ctrl-C, and so would all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _MODULES:
        importlib.import_module(name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(request)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        for each in _MODULES:
            importlib.import_module(each)
        command(sys.argv[1:], json.loads(os.environ.get("CROSSDISTILL_FAULTS", "[]")))
