"""``crossdistill doctor``: what this machine has, what is missing and how to get it, and whether the method works.

Nothing heavy is imported before it is looked at, so that the doctor can speak where torch cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crossdistill.doctor.finding import Finding, Section, reason
from crossdistill.doctor.packages import optional, versions
from crossdistill.errors import CrossDistillError, MissingDependencyError, TrainingError

__all__ = ["Finding", "Section", "examination", "failure"]


def examination() -> Iterator[Section]:
    """All sections, one after the other, as soon as each is known; one that fails does not end the others."""
    from crossdistill.doctor import codecs, machine
    from crossdistill.doctor.self_test import self_test

    parts: tuple[tuple[str, Callable[[], Section]], ...] = (
        ("Versions", versions), ("Devices", machine.devices), ("Memory", machine.memory), ("Disk", machine.disks),
        ("Formats", codecs.codecs), ("Extras", optional), ("Self-test", self_test),
    )  # fmt: skip
    for title, part in parts:
        yield _examined(title, part)


def _examined(title: str, part: Callable[[], Section]) -> Section:
    try:
        return part()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        fix = f"pip install {missing}" if missing else "pip install --force-reinstall crossdistill"
        finding = Finding(missing or title, f"missing: {reason(error)}", "bad", fix, MissingDependencyError)
    except Exception as error:  # of whatever kind: the doctor is for machines where something is wrong
        kind = MissingDependencyError if isinstance(error, ImportError) else TrainingError
        fix = "please report this with the output of `crossdistill doctor --json`"
        finding = Finding(title, f"cannot be looked at: {reason(error)}", "bad", fix, kind)
    return Section(title, [finding])


def failure(sections: list[Section]) -> CrossDistillError | None:
    """The error that the command ends in, of what is missing first, as nothing works without it; else None."""
    bad = [each for section in sections for each in section.findings if each.status == "bad" and each.error is not None]
    if not bad:
        return None
    order = (8, 7)
    kinds = [each.error for each in bad if each.error is not None]
    kind = min(kinds, key=lambda each: order.index(each.exit_code) if each.exit_code in order else len(order))
    names = ", ".join(dict.fromkeys(each.name for each in bad))
    return kind("crossdistill cannot work like this.", where=names, received=bad[0].value, fix=bad[0].fix or None)
