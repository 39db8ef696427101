"""A command as one of several processes: whatever ends one of them ends all, with one message that names it."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from crossdistill import ranks
from crossdistill.errors import CrossDistillError, StoppedError

_SIGNS = (
    "Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "gloo/transport",
    "DistBackendError", "DistNetworkError",
)  # fmt: skip


def run_as_rank(command: Callable[[], object]) -> None:
    """Runs ``command`` with the other ranks that ``torchrun`` has started.

    The first rank that fails says so, by number and machine; ``torchrun`` then ends the others, which say nothing. When
    a rank dies without a word, those that lose their connection to it name it.
    """
    number, count = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
    who = f" (process {number} of {count}, on {socket.gethostname()})"
    try:
        ranks.start()
        if not ranks.is_first():
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for good: results are told once
        command()
    except SystemExit as leaving:
        if leaving.code in (0, None):
            ranks.wait()
            ranks.leave()
        raise
    except CrossDistillError as error:
        _say(f"error{'' if isinstance(error, StoppedError) else who}: {error}")
        _leave(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; the same command again goes on where it stopped")
        _leave(130)
    except Exception as error:
        if _is_connection(error):
            gone = ranks.missing_ranks()
            told = f"\n  received: {str(error).splitlines()[0]}\n" if str(error) else "\n"
            again = "  fix:      run the same command again: it goes on from the last checkpoint"
            if gone:
                named = f"process {', '.join(str(each) for each in gone)} of {ranks.world()}"
                _say(f"error: {named} has ended without a word (killed, or out of memory); all end{told}{again}")
            else:
                _say(f"error{who}: the connection to the other processes is broken; all end{told}{again}")
            _leave(5)
        _say(f"process {ranks.rank()} of {ranks.world()}:\n{traceback.format_exc()}")
        _leave(1)


def _is_connection(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    return any(sign in text for sign in _SIGNS)


def _say(message: str) -> None:
    try:
        first = ranks.first_to_tell()
    except Exception:  # the store has gone with the process that held it
        first = True
    if first:
        typer.echo(message, err=True)


def _leave(code: int) -> None:
    """Ends this process at once: a tidy end would wait for connections that nobody answers any more."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
