"""Versions of what crossdistill needs, and of what its extras would add. All is read from the installed package."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from crossdistill.doctor.finding import Finding, Section, reason
from crossdistill.errors import MissingDependencyError

US = "crossdistill"
ENABLES = {
    "demo": "the built-in emoji, and the teacher of `crossdistill demo`",
    "raster": "rasters of many channels: TIFF, OpenEXR",
    "sketch": "drawings in SVG",
    "audio": "sound files and spectrograms",
    "video": "video files",
    "hdf5": "pairs in HDF5 files",
    "hub": "pairs from Hugging Face data sets",
    "sets": "`crossdistill data build`: sets made from packages",
    "theory": "distances by optimal transport",
    "serve": "`crossdistill serve`: the page and the JSON API",
    "search": "`crossdistill index`: approximate, for millions",
    "onnx": "`crossdistill export --format onnx`",
    "segmentation": "decoders of `evaluate.segmentation` beside our own",
    "wandb": "curves on Weights & Biases",
    "mlflow": "curves on MLflow",
    "trackio": "curves on Trackio",
}
"""What each extra is for; its packages are what the installed package says."""
_FOR_DEVELOPERS = {"dev", "docs", "peers"}


@dataclass(frozen=True)
class Need:
    """A package that is needed.

    Attributes:
        name: of the distribution.
        wanted: versions, such as ``>=2.6``; may be empty.
        installed: version, or None.
        fits: whether that version is one that is wanted.
    """

    name: str
    wanted: str
    installed: str | None
    fits: bool

    @property
    def there(self) -> bool:
        """Whether nothing has to be done."""
        return self.installed is not None and self.fits

    def __str__(self) -> str:
        found = "missing" if self.installed is None else f"{self.installed} is installed"
        return f"{self.name} {self.wanted} ({found})".replace("  ", " ")


def needs(extra: str = "") -> list[Need]:
    """What the installed package needs, or what one of its extras adds; extras inside of extras are followed."""
    from packaging.requirements import Requirement

    found: dict[str, Need] = {}
    pending, seen = [extra], set[str]()
    while pending:
        chosen = pending.pop()
        seen.add(chosen)
        for text in metadata.requires(US) or []:
            requirement = Requirement(text)
            always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": chosen})
            if not wanted or (chosen and always):
                continue
            if requirement.name == US:
                pending += [each for each in requirement.extras if each not in seen]
                continue
            try:
                installed = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                installed = None
            fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
            found[requirement.name] = Need(requirement.name, str(requirement.specifier), installed, fits)
    return list(found.values())


def extras() -> list[str]:
    """Extras for users, in the order of the description above."""
    known = set(metadata.metadata(US).get_all("Provides-Extra") or []) - _FOR_DEVELOPERS
    return [*(name for name in ENABLES if name in known), *sorted(known - ENABLES.keys())]


def versions() -> Section:
    """Python, crossdistill and each package that it cannot do without, which is imported to see whether it works."""
    found = [
        Finding("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}, {sys.executable}")
    ]
    try:
        found.append(Finding(US, metadata.version(US)))
        required = needs()
    except ModuleNotFoundError as error:  # `packaging`
        name = (error.name or US).partition(".")[0]
        finding = Finding(name, "missing", "bad", f"pip install {name}", MissingDependencyError)
        return Section("Versions", [*found, finding])
    except Exception as error:  # the package's own description, or `packaging`, is broken
        return Section("Versions", [*found, Finding(US, reason(error), "bad", _REINSTALL, MissingDependencyError)])
    names = import_names()
    return Section("Versions", [*found, *(_core(need, names) for need in required), *_uncompiled()])


def _uncompiled() -> list[Finding]:
    """A note where Python may not keep what it compiles and nobody compiled torch beforehand: it takes longer to
    compile its thousands of modules at every start than to train something small."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if spec is None or not sys.dont_write_bytecode or (spec.cached and Path(spec.cached).is_file()):
        return []
    folder = Path(spec.origin or ".").parent.parent
    fix = f"unset PYTHONDONTWRITEBYTECODE, or compile once: python -m compileall -q {folder}"
    value = "PYTHONDONTWRITEBYTECODE is set, and torch is not compiled: it is compiled anew at every start"
    return [Finding("bytecode", value, "note", fix)]


_REINSTALL = "pip install --force-reinstall crossdistill"


def _core(need: Need, names: dict[str, str]) -> Finding:
    fix = f"pip install '{need.name}{need.wanted}'"
    if not need.there:
        value = "missing" if need.installed is None else f"{need.installed}, but {need.wanted} is needed"
        return Finding(need.name, value, "bad", fix, MissingDependencyError)
    module = names.get(normal(need.name), need.name.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package raises anything, from a missing library to a wrong version
        return Finding(
            need.name, f"{need.installed}, cannot be imported: {reason(error)}", "bad",
            f"pip install --force-reinstall '{need.name}{need.wanted}'", MissingDependencyError,
        )  # fmt: skip
    return Finding(need.name, str(need.installed))


def optional() -> Section:
    """Each extra: what it is for, and how to get it where it is not complete."""
    found = []
    for name in extras():
        missing = [str(need) for need in needs(name) if not need.there]
        value = ENABLES.get(name, "")
        if not missing:
            found.append(Finding(name, value))
            continue
        fix = f"pip install '{US}[{name}]'"
        found.append(Finding(name, f"{value}; lacks {', '.join(missing)}", "none", fix))
    return Section("Extras", found)


def import_names() -> dict[str, str]:
    """For each distribution a name under which it is imported."""
    found: dict[str, str] = {}
    for module, owners in metadata.packages_distributions().items():
        for owner in owners:
            key = normal(owner)
            if module.startswith("_") or not module.isidentifier():
                continue
            if key not in found or module.lower() == key.replace("-", "_"):
                found[key] = module
    return found


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()
