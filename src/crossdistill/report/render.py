"""The report: one self-contained HTML file, made from the run folder alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import plotly
import yaml
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from crossdistill.errors import RunFolderError
from crossdistill.files import read_json, write_text
from crossdistill.report import figures, recognition, segmentation
from crossdistill.report.metric_names import headlines
from crossdistill.report.table import build_table, format_value, label_of, tables_by_kind

FORMAT = 3
_PLAIN = ("target_to_source_r@5", "knn")  # in the table alone
_TILES = ("target_to_source_r@1", "zero_shot", "linear", "knn", "fine_tune", "miou_frozen", "miou_tuned")


def write_report(root: Path) -> Path:
    """Writes ``report.html`` into a run folder and returns its path.

    Raises:
        RunFolderError: the folder has no results yet, or they are of another format.
    """
    if not (root / "metrics.json").is_file():
        raise RunFolderError(
            "The run has no results yet.",
            where=root,
            expected="metrics.json",
            fix="run `crossdistill evaluate` on it first",
        )
    metrics = read_json(root / "metrics.json")
    if metrics.get("format") != FORMAT:
        raise RunFolderError(
            "The results are of another format.",
            where=root,
            expected=f"format {FORMAT}",
            received=metrics.get("format"),
        )
    config_text = (root / "config.yaml").read_text(encoding="utf-8")
    environment = read_json(root / "environment.json") if (root / "environment.json").is_file() else {}
    page = (
        templates("crossdistill.report")
        .get_template("report.html.j2")
        .render(
            metrics=metrics,
            config=yaml.safe_load(config_text),
            config_text=config_text,
            environment=environment,
            title=_title(metrics),
            table=build_table(metrics, headlines=True),
            full_tables=tables_by_kind(metrics),
            tiles=_tiles(metrics),
            findings=_findings(metrics),
            charts=[figure_markup(figures.comparison(metrics, metric)) for metric in _charted(metrics)],
            curves=[
                figure_markup(figure)
                for figure in (
                    figures.training_curve(
                        metrics["curves"], "val_r@1", "retrieval R@1 on the val split, %", percent=True
                    ),
                    figures.training_curve(metrics["curves"], "loss", "training loss", percent=False),
                    figures.training_curve(
                        metrics["curves"],
                        "effective_rank",
                        "dimensions that the student fills (effective rank)",
                        percent=False,
                    ),
                )
                if figure is not None
            ],
            recognition=recognition.section(metrics),
            label_curve=None if (over := recognition.label_curve(metrics)) is None else figure_markup(over),
            confusion=None if (seen := recognition.confusion_map(metrics)) is None else figure_markup(seen),
            theory=metrics.get("theory"),
            theory_rows=_theory_rows(metrics),
            theory_figures=[
                figure_markup(figure)
                for figure in (
                    figures.theory_distance(metrics["curves"]),
                    figures.theory_risks(metrics["curves"].get(f"distil/{metrics['outcomes'][0]['name']}", [])),
                )
                if figure is not None
            ],
            segmentation=segmentation.section(metrics),
            segmentation_curve=None if (drawn := segmentation.curve(metrics)) is None else figure_markup(drawn),
            map=None if (found := figures.embedding_map(metrics["map"])) is None else figure_markup(found),
            picture=lambda name: _picture(root, name),
            sound=lambda name: _picture(root, name),
            plotly_js=plotly_library(),
            skipped_steps={
                stage: lines[-1]["skipped"]
                for stage, lines in metrics["curves"].items()
                if lines and "skipped" in lines[-1]
            },
            run_name=root.resolve().name,
        )
    )
    write_text(root / "report.html", page)
    return root / "report.html"


def _title(metrics: dict[str, Any]) -> str:
    return f"{_short(metrics['teacher'])} \N{RIGHTWARDS ARROW} {_short(metrics['student'])}"


def _short(encoder: dict[str, Any]) -> str:
    name = str(encoder["backbone"])
    return name.removeprefix("python:").rpartition(".")[2] if name.startswith("python:") else name


def _charted(metrics: dict[str, Any]) -> list[str]:
    """The metrics that get a chart, in the order of the table."""
    return [column.metric for column in build_table(metrics, headlines=True).columns if column.metric not in _PLAIN]


def _tiles(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """The main objective's headline numbers."""
    main = metrics["outcomes"][0]
    few_shot = [name for name in headlines(main["metrics"]) if name.startswith("linear_")]
    names = [*_TILES[:2], *few_shot[:1], *_TILES[2:]]
    chosen = [name for name in names if name in main["metrics"]][:4]
    tiles = []
    for name in chosen:
        estimate = main["metrics"][name]
        tiles.append(
            {
                "label": label_of(name),
                "value": format_value(name, estimate["value"]),
                "interval": f"{format_value(name, estimate['low'])} \N{EN DASH} {format_value(name, estimate['high'])}",
                "items": str(estimate["items"]),
            }
        )
    return tiles


def _findings(metrics: dict[str, Any]) -> list[dict[str, str]]:
    """The paired differences between the main objective and the others, with a plain verdict on each."""
    roles = {outcome["name"]: outcome["role"] for outcome in metrics["outcomes"]}
    changes = {(line["second"], line["metric"]): line["difference"] for line in metrics["comparisons"]}
    lead = _charted(metrics)
    few = [name for name in metrics["outcomes"][0]["metrics"] if name.startswith("miou_") and name not in lead]
    found = []
    for name, role in roles.items():
        for metric in [*lead, *few]:
            if (name, metric) not in changes:
                continue
            low, value, high = (100 * changes[name, metric][end] for end in ("low", "value", "high"))
            verdict = "ahead" if low > 0 else "behind" if high < 0 else "no clear difference"
            found.append(
                {
                    "against": name,
                    "role": role,
                    "metric": label_of(metric),
                    "difference": f"{value:+.1f}",
                    "interval": f"{low:+.1f} to {high:+.1f}",
                    "verdict": verdict,
                }
            )
    return found


def _theory_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """What the theory's table shows of each student: the terms of the form ``to_teacher``, and the certified bound."""
    if metrics.get("theory") is None:
        return []
    found = []
    for name, terms in metrics["theory"]["students"].items():
        form = terms["forms"]["to_teacher"]
        plain = {key: terms[key] for key in ("items", "probe", "temperature")}
        found.append({"name": name, **form, "chain": next(iter(form["chains"]), None), **plain})
    return found


def figure_markup(figure: Any) -> Markup:
    """A figure's specification, safe inside a script element."""
    return Markup(json.dumps(json.loads(figure.to_json())).replace("<", "\\u003c"))


def templates(*packages: str) -> Environment:
    """The page templates of packages; a name is looked for in the first of them first."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates") for package in packages]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def plotly_library() -> Markup:
    """What draws the figures, for pages that need nothing from elsewhere."""
    return Markup((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8"))


_TYPES = {".png": "image/png", ".ogg": "audio/ogg"}


def _picture(root: Path, name: str) -> str:
    """A picture or sound of the run folder as a data URI."""
    path = root / "pictures" / name
    if not path.is_file() or path.parent.resolve() != (root / "pictures").resolve():
        raise RunFolderError(
            "A picture of the run is missing.", where=path, fix="run `crossdistill evaluate` on it again"
        )
    return f"data:{_TYPES[path.suffix]};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
