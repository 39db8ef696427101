"""What the doctor finds: lines in sections."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from crossdistill.errors import CrossDistillError

Status = Literal["ok", "none", "note", "bad"]
"""``ok``; ``none``: not there and not needed; ``note``: worth knowing; ``bad``: crossdistill cannot work like this."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        name: what was looked at.
        value: what was found.
        status: see :data:`Status`.
        fix: what to do about it; empty where nothing has to be done.
        error: of a ``bad`` one the class that says with which exit code the command ends.
    """

    name: str
    value: str
    status: Status = "ok"
    fix: str = ""
    error: type[CrossDistillError] | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        found = {name: value for name, value in asdict(self).items() if name != "error"}
        return {**found, "exit_code": self.error.exit_code} if self.error is not None else found


@dataclass(frozen=True)
class Section:
    """Some lines under a title."""

    title: str
    findings: list[Finding] = field(default_factory=list)


def reason(error: BaseException) -> str:
    """An error of somebody else's in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
