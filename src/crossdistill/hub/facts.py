"""What is known of the run behind a model: its configuration, data, results and versions, without anything private.

Paths of the machine that made it are cut down to their last part, as a published model goes to strangers.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crossdistill.console import warn
from crossdistill.encoders import describe_encoder, has_encoder
from crossdistill.errors import CrossDistillError
from crossdistill.files import read_json
from crossdistill.hub.places import without_places
from crossdistill.hub.recorded import check_facts
from crossdistill.pairs import SPLITS
from crossdistill.pipeline import RunConfig, RunFolder, open_run
from crossdistill.pipeline.own_pairs import own_pairs
from crossdistill.pipeline.published import INDEX, is_published, read_index
from crossdistill.pipeline.showcase import describe_pairs

_KEPT = ("format", "settings", "pairs", "teacher", "student", "left_out", "outcomes", "comparisons")


@dataclass(frozen=True)
class Facts:
    """What the model card is made from. Each part is None where it is not known.

    Attributes:
        configuration: all settings of the run.
        changed: those that differ from their defaults, which is enough to run it again with the same version.
        results: of ``metrics.json`` what is about numbers, see docs/run-folder.md.
        environment: versions and hardware.
        data: name, licence and sizes of the pairs, of a run without results; these say it themselves.
    """

    configuration: dict[str, Any] | None = None
    changed: dict[str, Any] | None = None
    results: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    data: dict[str, Any] | None = None

    @property
    def pairs(self) -> dict[str, Any] | None:
        """Name, licence and sizes of the pairs, wherever they are known from."""
        return self.data if self.results is None else self.results["pairs"]

    def to_json(self) -> dict[str, Any]:
        """As it is kept in ``crossdistill.json``."""
        return asdict(self)


def facts_of(folder: RunFolder) -> Facts:
    """What a run folder, or a published folder, says; nothing where it is neither.

    Raises:
        RunFolderError: a file of it is damaged.
    """
    if is_published(folder.root):
        kept = read_index(folder.root)
        facts = Facts(**{name: kept.get(name) for name in asdict(Facts())})
        check_facts(facts.to_json(), folder.root / INDEX)
        return facts
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
        data=_data(folder) if metrics is None else None,
    )


def _data(folder: RunFolder) -> dict[str, Any] | None:
    """The pairs of a run that has not been measured, opened again; else what the run itself recorded of them."""
    try:
        return describe_pairs(own_pairs(folder))
    except CrossDistillError as error:
        warn(f"the run's own pairs cannot be opened again, so nothing is known of their licence: {error.problem}")
    name = None
    if has_encoder(folder.student):
        name = (describe_encoder(folder.student)["provenance"].get("pairs") or {}).get("name")
    if not folder.pairs.is_file():
        return None if name is None else {"name": name}
    with folder.pairs.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = Counter(row["split"] for row in rows if row["source"] and row["target"])
    return {
        "name": name or "pairs",
        "licence": None,
        "classes": len({row["label"] for row in rows} - {""}),
        "splits": {split: {"pairs": counts[split]} for split in SPLITS},
    }


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
