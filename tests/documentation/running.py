"""Executes the pieces of one page in its scenario, in the order of the page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from tests.documentation.exceptions import excepted, smaller
from tests.documentation.hooks import install_touch_pad
from tests.documentation.parsing import bare_forms, is_syntax, names_a_command, needs_arguments, simple_commands
from tests.documentation.reading import ROOT, Piece
from tests.documentation.scenario import PREPARED
from tests.documentation.shortening import PREPARED as NOTE
from tests.documentation.shortening import shortened
from tests.documentation.warm import SOCKET

from crossdistill.errors import AuditError

SECONDS = 420  # for one command
_DOCUMENTED_PORT = "7860"


class Page:
    """One page and its folder.

    Attributes:
        executed: commands and blocks that ran well.
        excepted: commands and blocks that need what is not here.
        failures: what failed, with place and output.
        times: how long each piece took.
    """

    def __init__(self, pieces: list[Piece], folder: Path, cache: Path, warm: Path) -> None:
        self.pieces, self.folder = pieces, folder
        self.executed, self.excepted = 0, 0
        self.failures: list[str] = []
        self.times: list[str] = []
        self._server: subprocess.Popen[str] | None = None
        self._port = ""
        self._python: subprocess.Popen[str] | None = None
        binaries = folder / ".bin"
        binaries.mkdir()
        command = binaries / "crossdistill"
        command.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.documentation.shortening import main\nmain()\n"
        )
        command.chmod(0o755)
        (folder / NOTE).write_text("\n".join(PREPARED))
        install_touch_pad(folder / ".packages")  # instead of the page's pip install
        packages = os.pathsep.join([str(ROOT), str(folder / ".packages")])
        path = os.pathsep.join([str(binaries), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            **os.environ, "PATH": path, "PYTHONPATH": packages, "CROSSDISTILL_CACHE": str(cache),
            SOCKET: str(warm), "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }  # fmt: skip

    def run(self) -> None:
        """Everything, also behind a failure."""
        try:
            for piece in self.pieces:
                self._run(piece)
        finally:
            self._stop()

    def _run(self, piece: Piece) -> None:
        if piece.kind == "yaml" and piece.named is None and "out" not in (yaml.safe_load(piece.text) or {}):
            return  # a part of a configuration: it has been validated
        if self._only_speaks(piece):
            return
        if excepted(piece) is not None:
            self.excepted += 1
            return
        began = time.monotonic()
        try:
            problem = {"shell": self._shell, "python": self._block, "yaml": self._yaml, "data": self._data}[piece.kind](
                piece
            )
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        self.times.append(f"{time.monotonic() - began:6.1f} s  {piece.place}  {piece.text.splitlines()[0][:100]}")
        print(self.times[-1], flush=True)
        if problem is None:
            self.executed += piece.kind in ("shell", "python")
        else:
            self.failures.append(f"--- {piece.place}\n{piece.text.rstrip()}\n--- {problem}")

    @staticmethod
    def _only_speaks(piece: Piece) -> bool:
        """A sentence that names a command without what it needs."""
        if piece.kind != "shell" or not piece.inline or not piece.text.startswith("crossdistill"):
            return False
        words = next(simple_commands(piece.text))
        return names_a_command(words) and needs_arguments(words)

    def _yaml(self, piece: Piece) -> None:
        """A whole configuration is the one that the page's commands are about."""
        if not piece.file.startswith("examples/"):
            name = piece.named or "mine.yaml"
            assert not Path(name).is_absolute()
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(piece.text, encoding="utf-8")

    def _data(self, piece: Piece) -> None:
        """An excerpt of a table: the files that it names are there."""
        assert piece.named is not None
        if piece.named.endswith(".csv"):
            for line in piece.text.splitlines()[1:]:
                for cell in line.split(",")[:2]:
                    assert not cell or (self.folder / cell).is_file(), f"{cell} is not in the scenario"
        else:
            (self.folder / piece.named).write_text(piece.text, encoding="utf-8")

    def _shell(self, piece: Piece) -> str | None:
        text = smaller(piece)
        if not (piece.inline and is_syntax(piece.text)):
            return self._command(text)
        for form in bare_forms(text):
            if (problem := self._command(form)) is not None:
                return f"as {form}: {problem}"
        return None

    def _command(self, text: str) -> str | None:
        if self._server is not None:
            text = text.replace(f":{_DOCUMENTED_PORT}", f":{self._port}")
        if re.match(r"crossdistill serve\b(?!.*--help)", text):
            return self._serve(text)
        if (many := re.search(r"-m crossdistill (run .*)", text, re.DOTALL)) is not None:
            with contextlib.chdir(self.folder):  # torchrun starts Python, and not what stands in for the command
                before = shlex.split(many.group(1).replace("\\\n", " "))
                text += " " + " ".join(word for word in shortened(before)[len(before) :] if "=" in word)
        process = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", text], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return f"not done after {SECONDS} s\n{output[-3000:]}"
        if text.startswith("crossdistill audit") and process.returncode == AuditError.exit_code:
            return None  # it has done what it is for: the generated pairs have faults
        if process.returncode != 0:
            return f"exit code {process.returncode}\n{output[-3000:]}"
        return "a traceback\n" + output[-3000:] if "Traceback (most recent call last)" in output else None

    def _serve(self, text: str) -> str | None:
        """Starts it on a free port, waits for the page; it stays until the page's last piece."""
        self._stop_server()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        text = re.sub(r" --port \d+", "", text).removesuffix("&").rstrip() + f" --port {self._port}"
        with (self.folder / ".serve.log").open("w") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {text}"], cwd=self.folder, env=self.environment, stdout=log, stderr=log, text=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=10) as answer:
                    if answer.status == 200:
                        return None
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        said = (self.folder / ".serve.log").read_text()[-3000:]
        self._stop_server()
        return f"the page does not answer\n{said}"

    def _stop_server(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(signal.SIGINT)
        try:
            code = server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            code = -9
        if code not in (0, 130):
            said = (self.folder / ".serve.log").read_text()[-3000:]
            self.failures.append(f"--- the server ended with {code} after Ctrl-C\n{said}")

    def _block(self, piece: Piece) -> str | None:
        if piece.named and piece.named.endswith(".py"):
            (self.folder / piece.named).write_text(piece.text, encoding="utf-8")
            if Path(piece.named).name.startswith("test_"):
                return self._command(f"python -m pytest -q -p no:cacheprovider {piece.named}")
            return None if is_run(piece.named, self.pieces) else "no command of the page runs this file"
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-m", "tests.documentation.warm", "tests.documentation.session"], cwd=self.folder,
                env=self.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        code = piece.text
        if self._server is not None:
            code = code.replace(f":{_DOCUMENTED_PORT}", f":{self._port}")
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        self._python.stdin.write(json.dumps({"code": code, "place": piece.place}) + "\n")
        self._python.stdin.flush()
        line = self._python.stdout.readline()
        if not line:
            self._python.communicate()
            self._python = None
            return "Python ended"
        answer: dict[str, Any] = json.loads(line)
        return str(answer["output"])[-3000:] if answer["failed"] else None

    def _stop(self) -> None:
        self._stop_server()
        if self._python is not None:
            self._python.communicate()  # the end of its input ends it
        shutil.rmtree(self.folder, ignore_errors=True)


def is_run(name: str, pieces: list[Piece]) -> bool:
    """Whether a command of a page runs a file of Python that the page shows, or a block of the page imports it."""
    file = Path(name)
    executed = [piece for piece in pieces if excepted(piece) is None]
    typed = rf"(?<![\w-]){re.escape(file.name)}(?![\w.])"
    imported = rf"^(import|from) {re.escape(file.stem)}\b"
    return any(
        re.search(typed, piece.text) is not None
        if piece.kind == "shell"
        else piece.kind == "python"
        and piece.named != name
        and re.search(imported, piece.text, re.MULTILINE) is not None
        for piece in executed
    )
