"""The model card: what a stranger needs to use a model, and to know what to expect of it and what not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from crossdistill.encoders import Encoder
from crossdistill.encoders.config import PRETRAINED
from crossdistill.hub import findings
from crossdistill.hub.facts import Facts
from crossdistill.hub.licences import conditions, front_matter
from crossdistill.modalities import Modality
from crossdistill.pairs import Side
from crossdistill.report.table import build_table

CARD = "README.md"
PAPER = "2405.03355"
_TAGS = ("crossdistill", "knowledge-distillation", "cross-modal", "contrastive-learning")
_PICTURES = {"image", "sketch", "depth", "thermal", "multispectral"}
_FILES = {
    "image": "picture.png", "sketch": "drawing.svg", "depth": "depth.png", "thermal": "thermal.png",
    "multispectral": "scene.tif", "audio": "sound.wav", "video": "clip.mp4", "timeseries": "series.csv",
    "embedding": "vector.npy",
}  # fmt: skip
_ESCAPED = {"<": "&lt;", ">": "&gt;", "|": "\\|", "`": "'", "\n": " ", "*": "\\*", "[": "\\["}
_DASH = " \N{EN DASH} "
_UNSAID = {"modality", "augment"}


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        encoders: the student, and the teacher where it goes along.
        facts: of the run.
        licence: of the weights.
        repository: ``NAME/MODEL``, where it is known.
        folder: name of the folder.
        in_timm: whether timm can load the student's backbone.
    """

    encoders: Mapping[Side, Encoder]
    facts: Facts
    licence: str | None
    repository: str | None
    folder: str
    in_timm: bool

    @property
    def name(self) -> str:
        """What the model is called."""
        return (self.repository or self.folder).rpartition("/")[2]

    @property
    def address(self) -> str:
        """What ``from_pretrained`` takes."""
        return self.repository or self.folder

    def modality(self, side: Side) -> str:
        """The name of one side's modality."""
        if side in self.encoders:
            return self.encoders[side].modality.modality
        configured = (self.facts.configuration or {}).get(side) or {}
        return str(configured.get("modality", "unknown"))


def write_card(subject: Subject) -> str:
    """The whole of ``README.md``: metadata in YAML that the Hub reads, and the text."""
    student, teacher = subject.encoders["target"], subject.encoders.get("source")
    results, settings = subject.facts.results, subject.facts.configuration
    data = subject.facts.pairs
    licence = None if data is None or not data.get("licence") else {"attribution": "", "url": "", **data["licence"]}
    text = (
        _templates()
        .get_template("card.md.j2")
        .render(
            subject=subject,
            student=_described(student),
            teacher=None if teacher is None else _described(teacher),
            teacher_described=(results or {}).get("teacher"),
            source=subject.modality("source"),
            target=subject.modality("target"),
            files={side: _FILES.get(subject.modality(side), "item") for side in ("source", "target")},
            configuration=settings,
            changed="" if subject.facts.changed is None else _yaml(subject.facts.changed),
            data=None if data is None else {"splits": None, "classes": None, **data},
            data_licence=licence,
            conditions=[] if licence is None else conditions(licence["name"]),
            table=None if results is None else _table(results),
            comparisons=findings.comparisons(subject.facts),
            limits=findings.limits(subject.facts, teacher=teacher is not None),
            objective=None if settings is None else _objective(settings["objective"]),
            environment=subject.facts.environment,
            version=version("crossdistill"),
            paper=PAPER,
        )
    )
    card = ModelCard(f"---\n{_metadata(subject).to_yaml()}\n---\n\n{text.strip()}\n")
    return str(card)


def pipeline_tag(modality: str) -> str:
    """The Hub's nearest name of what the student does."""
    return "image-feature-extraction" if modality in _PICTURES else "feature-extraction"


def _metadata(subject: Subject) -> ModelCardData:
    source, target = subject.modality("source"), subject.modality("target")
    task = pipeline_tag(target)
    sides = dict.fromkeys((source, target))
    tags = [*_TAGS, *(["timm"] if subject.in_timm else []), *sides, f"arxiv:{PAPER}"]
    settings = subject.facts.configuration or {}
    hub_set = ((settings.get("pairs") or {}).get("hub") or {}).get("path")
    results = findings.evaluation_results(subject.facts, task)
    licence = front_matter(subject.licence)
    return ModelCardData(
        license=licence["license"],
        license_name=licence.get("license_name"),
        library_name="crossdistill",
        pipeline_tag=task,
        tags=[tag for tag in tags if tag != "unknown"],
        datasets=[hub_set] if isinstance(hub_set, str) and "/" in hub_set else None,
        base_model=_base_model(settings.get("teacher") or {}),
        metrics=sorted({each.metric_type for each in results}) or None,
        model_name=subject.name,
        eval_results=results or None,
    )


def _base_model(teacher: Mapping[str, Any]) -> str | None:
    """The teacher's name on the Hub, where its weights came from there."""
    if teacher.get("weights") != PRETRAINED or not teacher.get("backbone"):
        return None
    import timm

    found = timm.get_pretrained_cfg(str(teacher["backbone"]))
    if found is None or not found.hf_hub_id:
        return None
    return f"{found.hf_hub_id}{found.architecture}.{found.tag}" if found.hf_hub_id == "timm/" else found.hf_hub_id


def _described(encoder: Encoder) -> dict[str, Any]:
    own = encoder.architecture.backbone.startswith("python:")
    return {
        **encoder.architecture.to_json(),
        "backbone": encoder.architecture.backbone.removeprefix("python:"),
        "own": own,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "origin": encoder.origin,
        "preprocessing": preprocessing_in_words(encoder.modality),
    }


def preprocessing_in_words(modality: Modality) -> str:
    """Every setting that decides what the encoder sees, in one line; numbers in full, as they are needed elsewhere."""
    settings = modality.model_dump(mode="json", by_alias=True, exclude_none=True)
    said = [f"{key.replace('_', ' ')} {_value(value)}" for key, value in settings.items() if key not in _UNSAID]
    return f"modality {modality.modality}" + "".join(f", {each}" for each in said)


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > 12:
        return f"of {len(value)} values (in encoder.json)"
    if isinstance(value, list):
        return " / ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _objective(settings: Mapping[str, Any]) -> str:
    """``cmcd (temperature 0.1, ...)``; of a sum its terms."""
    if "terms" in settings:
        return " + ".join(f"{term['weight']:g} x {_objective(term)}" for term in settings["terms"])
    said = [f"{key.replace('_', ' ')} {value}" for key, value in settings.items()
            if key not in ("name", "label", "weight", "memory_mb") and value is not None]  # fmt: skip
    return f"{settings['name']} ({', '.join(said)})" if said else str(settings["name"])


def _table(results: dict[str, Any]) -> list[list[str]]:
    """The report's table: a line of heads, then a line for each subject."""
    built = build_table(results, headlines=True)
    heads = ["", *(f"{column.label} (n = {column.items})" for column in built.columns)]
    lines = []
    for row in built.rows:
        name = {"objective": f"**{row.name}**", "baseline": row.name}.get(row.role, f"*{row.name}*")
        cells = (f"{cell.value} ({cell.interval.replace(_DASH, ' to ')})" if cell.value else "" for cell in row.cells)
        lines.append([name, *cells])
    return [heads, *lines]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).strip()


def _templates() -> Environment:
    """Markdown, so nothing is escaped for HTML; names from outside go through the filter ``plain``."""
    made = Environment(
        loader=PackageLoader("crossdistill.hub", "templates"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, autoescape=False,  # no page: the Hub cleans what it shows
    )  # fmt: skip
    made.filters["plain"] = plain
    return made


def plain(text: Any) -> str:
    """Text from outside, such as the name of a data set, without what Markdown or HTML would take for its own."""
    return "".join(_ESCAPED.get(letter, letter) for letter in str(text))
