"""``compare.html`` and ``compare.md``: what a comparison found, for people."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from crossdistill.compare.figures import critical_difference, differences
from crossdistill.compare.findings import Findings, Metric
from crossdistill.compare.tables import headlines, markdown, rows_of, settings_text
from crossdistill.files import write_text
from crossdistill.report.render import figure_markup, plotly_library, templates
from crossdistill.report.table import label_of

_DRAWN = 4  # metrics with figures


def write_pages(findings: Findings, folder: Path) -> None:
    """Writes both below ``folder``."""
    metrics = headlines(findings)
    drawn = _drawn(findings, metrics)
    page = (
        templates("crossdistill.compare", "crossdistill.report")
        .get_template("compare.html.j2")
        .render(
            findings=findings,
            columns=[label_of(each.name) for each in metrics],
            rows=rows_of(findings, metrics),
            others=[label_of(each.name) for each in findings.metrics if each not in metrics],
            other_rows=rows_of(findings, [each for each in findings.metrics if each not in metrics]),
            forests=[figure_markup(differences(each, findings.reference)) for each in drawn if each.against],
            ranks=[figure_markup(critical_difference(each)) for each in drawn if len(each.ranks) > 1],
            select=[label_of(name) for name in findings.select],
            hours=sum(findings.seconds.values()) / 3600,
            settings_text=lambda settings: settings_text(dict(settings)),
            plotly_js=plotly_library(),
            version=version("crossdistill"),
        )
    )
    write_text(folder / "compare.html", page)
    write_text(folder / "compare.md", markdown(findings))


def _drawn(findings: Findings, metrics: list[Metric]) -> list[Metric]:
    """Those that decided between trials come first."""
    able = [each for each in metrics if each.paired and each.pairwise]
    return sorted(able, key=lambda each: each.name not in findings.select)[:_DRAWN]
