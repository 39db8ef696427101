"""A process that has imported what commands import, and forks for each: nine of ten seconds of a short one are imports.

A command still has a process, arguments, folder, environment, streams and exit code of its own, as from a shell; only
its interpreter is not a fresh one. tests/test_cli.py and `make test-wheel` start commands from nothing.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

SOCKET = "DOCUMENTATION_WARM"  # names the server's socket
_MODULES = (
    "crossdistill.cli.app", "crossdistill.cli.finish", "crossdistill.pipeline", "kornia", "pandas",
    "plotly.graph_objects", "pyarrow.parquet", "scipy.stats", "sklearn.linear_model", "tensorboardX", "timm",
    "torchvision", "yaml",
)  # fmt: skip
_POLL = 0.05  # seconds


def serve(path: Path) -> None:
    """Imports everything, then answers until it is killed."""
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()  # what is collected is no longer shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers leave nothing behind
    listener = socket.socket(socket.AF_UNIX)
    waiting = path.with_suffix(".begun")
    listener.bind(str(waiting))
    listener.listen(8)
    waiting.rename(path)  # it is there when it answers
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _handle(connection)
        connection.close()


def _handle(connection: socket.socket) -> NoReturn:
    """Runs one command in a child; passes signals on to it and its exit code back."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    asked = json.loads(message)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(asked, streams)
    for stream in streams:
        os.close(stream)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            connection.sendall(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        if select.select([connection], [], [], _POLL)[0]:
            numbers = connection.recv(16) or bytes([signal.SIGKILL])  # whoever asked is gone
            for number in numbers:
                os.kill(child, number)


def _become(asked: dict[str, object], streams: list[int]) -> NoReturn:
    """Makes this process the command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    arguments, environment = asked["arguments"], asked["environment"]
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(asked["folder"]))
    tempfile.tempdir = None
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place not in sys.path]
    sys.argv = arguments
    code: object = 0
    try:
        if arguments[0] == "crossdistill":
            from crossdistill.cli.app import main

            main()
        else:
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:
        traceback.print_exc()
        code = 1
    _leave(code if isinstance(code, int) else int(code is not None))


def _leave(code: int) -> NoReturn:
    """Ends as an interpreter does, but for taking modules apart: that would copy all memory shared with the server."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ask(arguments: list[str]) -> int:
    """Has the server run a command with this process's streams, folder and environment; its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SOCKET])
        asked = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])

        def pass_on(number: int, _frame: FrameType | None) -> None:
            connection.sendall(bytes([number]))

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        code = int(json.loads(connection.recv(64) or b"-9"))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]))
    else:
        sys.exit(ask(sys.argv[1:]))
