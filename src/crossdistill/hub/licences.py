"""Licences of weights and of data, as the Hub names them."""

from __future__ import annotations

import re

# The identifiers of https://huggingface.co/docs/hub/repositories-licenses that are in general use.
KNOWN = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigcode-openrail-m", "bigscience-openrail-m", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m", "ecl-2.0",
    "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl",
    "lgpl-2.1", "lgpl-3.0", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "openrail",
    "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
})  # fmt: skip


def identifier(name: str) -> str:
    """``CC BY-SA 4.0`` as the Hub writes it: ``cc-by-sa-4.0``."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def front_matter(licence: str | None) -> dict[str, str]:
    """The licence's keys of a card: an identifier of the Hub, or ``other`` with a name, or ``unknown``."""
    if licence is None:
        return {"license": "unknown"}
    known = identifier(licence)
    return {"license": known} if known in KNOWN else {"license": "other", "license_name": known}


def conditions(name: str) -> list[str]:
    """What a licence of data is known to ask of whoever uses the data, in words; empty where nothing is known."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    creative = "cc" in words or "creative" in words
    found = []
    if (creative and "by" in words) or "attribution" in words or words & {"odbl", "odc"}:
        found.append("credit to its makers")
    if (creative and "sa" in words) or "sharealike" in words or "odbl" in words:
        found.append("that what is made from it is shared under the same licence")
    if creative and ("nc" in words or "noncommercial" in words):
        found.append("no commercial use")
    if creative and "nd" in words:
        found.append("that nothing derived from it is distributed")
    return found
