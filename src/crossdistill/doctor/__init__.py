"""``crossdistill doctor``: what this machine has, what is missing and how to get it, and whether the method works.

Nothing heavy is imported before it is looked at, so that the doctor can speak where torch cannot.
"""

from __future__ import annotations

from collections.abc import Iterator

from crossdistill.doctor.finding import Finding, Section
from crossdistill.doctor.packages import optional, versions
from crossdistill.errors import CrossDistillError

__all__ = ["Finding", "Section", "examination", "failure"]


def examination() -> Iterator[Section]:
    """All sections, one after the other, as soon as each is known."""
    from crossdistill.doctor import codecs, machine
    from crossdistill.doctor.self_test import self_test

    for part in (versions, machine.devices, machine.memory, machine.disks, codecs.codecs, optional, self_test):
        yield part()


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
