"""What is known of the run behind a model: its configuration, results and versions, without anything private.

Paths of the machine that made it are cut down to their last part, as a published model goes to strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from crossdistill.files import read_json
from crossdistill.pipeline import RunConfig, RunFolder, open_run
from crossdistill.pipeline.published import is_published, read_index

_KEPT = ("format", "settings", "pairs", "teacher", "student", "left_out", "outcomes", "comparisons")


@dataclass(frozen=True)
class Facts:
    """What the model card is made from. Each part is None where it is not known.

    Attributes:
        configuration: all settings of the run.
        changed: those that differ from their defaults, which is enough to run it again with the same version.
        results: of ``metrics.json`` what is about numbers, see docs/run-folder.md.
        environment: versions and hardware.
    """

    configuration: dict[str, Any] | None = None
    changed: dict[str, Any] | None = None
    results: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is kept in ``crossdistill.json``."""
        return {
            "configuration": self.configuration, "changed": self.changed, "results": self.results,
            "environment": self.environment,
        }  # fmt: skip


def facts_of(folder: RunFolder) -> Facts:
    """What a run folder, or a published folder, says; nothing where it is neither.

    Raises:
        RunFolderError: a file of it is damaged.
    """
    if is_published(folder.root):
        kept = read_index(folder.root)
        return Facts(**{name: kept.get(name) for name in ("configuration", "changed", "results", "environment")})
    if not folder.config.is_file():
        return Facts()
    _, config = open_run(folder.root)
    metrics = read_json(folder.metrics) if folder.metrics.is_file() else None
    environment = read_json(folder.environment) if folder.environment.is_file() else None
    return Facts(
        configuration=without_places(config.to_dict()),
        changed=without_places(_changed(config)),
        results=None if metrics is None else _numbers(metrics),
        environment=environment,
    )


def _changed(config: RunConfig) -> dict[str, Any]:
    """The settings that differ from their defaults; which modality and objective they belong to is always said."""
    everything = config.to_dict()
    found = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for side in ("source", "target"):
        found[side] = {"modality": everything[side]["modality"], **found.get(side, {})}
    found["objective"] = everything["objective"]
    return {name: found[name] for name in everything if name in found}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``metrics.json`` what a card needs; of the theory the main student's certified totals."""
    kept: dict[str, Any] = {name: metrics[name] for name in _KEPT if name in metrics}
    theory = metrics.get("theory")
    if theory is not None:
        terms = theory["students"].get(metrics["outcomes"][0]["name"])
        forms = {} if terms is None else terms["forms"]
        chains = [{"form": form, **chain} for form, found in forms.items() for chain in found["chains"]]
        wanted = ("form", "name", "bounded", "total_certified", "delta", "vacuous", "worse_than_guessing")
        kept["certificates"] = [{name: chain.get(name) for name in wanted} for chain in chains]
    return kept


def without_places(value: Any) -> Any:
    """The same settings with every absolute path cut down to its last part."""
    if isinstance(value, Mapping):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(each) for each in value]
    if isinstance(value, str) and (Path(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name  # which takes both kinds of slash
    return value
