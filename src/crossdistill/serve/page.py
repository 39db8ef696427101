"""The page: Gradio's layout and events around one input of ours and one answer, both without any file on a disk."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request

from crossdistill.errors import CrossDistillError
from crossdistill.item import MemoryItem
from crossdistill.pairs import Side
from crossdistill.report.render import templates
from crossdistill.serve.answer import Answer, map_address
from crossdistill.serve.certainty import percent
from crossdistill.serve.limits import Deadline, RefusedError, safe_name
from crossdistill.serve.service import Service
from crossdistill.serve.setup import setup_of
from crossdistill.serve.student import SIDES, Student, other

_COLUMNS = 4  # runs beside each other
_SHOWN = 12  # nearest items, unless the user asks for another number
_WORKERS = 4  # requests of the page at work at a time
_SYSTEM = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_SYSTEM_MONO = ["ui-monospace", "monospace"]


@dataclass(frozen=True)
class Column:
    """What is shown of one student: an answer, a problem, or neither before anything is asked."""

    student: Student
    across: str
    own: str
    map: str
    mapped: int
    answer: Answer | None = None
    seen: str = ""
    problem: CrossDistillError | None = None


class Page:
    """What happens on the page.

    Args:
        service: answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._template = templates("crossdistill.serve").get_template("answer.html.j2")

    def ask(self, value: str | None, run: str, others: list[str], side: Side, k: float) -> str:
        """The answer of each chosen run as HTML."""
        chosen = self._chosen(run, others, side)
        try:
            item = self._item(self.service.student(run), _query(value))
        except CrossDistillError as error:
            return self._shown([_column(chosen[0], side, problem=error)])
        deadline = self.service.deadline()  # of all of them together
        return self._shown([self._column(student, item, side, int(k), deadline) for student in chosen])

    def turn(self, value: str | None, run: str, others: list[str], side: Side, k: float) -> tuple[Any, ...]:
        """Another run, or the other modality: what is asked stays where it is of the same modality."""
        student, query = self.service.student(run), _query(value)
        before = json.loads(value or "{}").get("setup", {})
        fits = before.get("modality") == student.modality(side).modality and before.get("side") == side
        kept = query if query is not None and fits and ("own" not in query or before.get("run") == run) else None
        alike = self.alike(student, side)
        names = [each for each in others if each in {name for _, name in alike}]
        sent = json.dumps({"setup": setup_of(student, side, self.service.limits), "query": kept})
        return (
            sent, self.ask(sent, run, names, side, k), gr.CheckboxGroup(alike, value=names, visible=bool(alike)),
            gr.Radio(sides_of(student), value=side), headline(student),
        )  # fmt: skip

    def alike(self, student: Student, side: Side) -> list[tuple[str, str]]:
        """Names and ids of the other students that read the same modality."""
        kind = student.modality(side).modality
        return [
            (f"{each.run}: {each.objective}", each.id)
            for each in self.service.students.values()
            if each.id != student.id and each.modality(side).modality == kind
        ]

    def _chosen(self, run: str, others: list[str], side: Side) -> list[Student]:
        first = self.service.student(run)
        alike = {name for _, name in self.alike(first, side)}
        return [first, *(self.service.student(name) for name in others if name in alike)][:_COLUMNS]

    def _item(self, student: Student, query: dict[str, Any] | None) -> MemoryItem | None:
        if query is None:
            return None
        if "token" in query:
            return self.service.kept.get(str(query["token"]))
        side, position = query.get("side"), query.get("own")
        if side not in SIDES or not isinstance(position, int):
            raise RefusedError("The page sent something else than a query.", status=400)
        entries = student.own[side].gallery.entries
        item = entries[position].item if 0 <= position < len(entries) else None
        if item is None:
            raise RefusedError("There is no such item.", status=404)
        try:
            return MemoryItem(safe_name(item.name), item.read_bytes())
        except OSError as error:
            raise RefusedError(
                "The item cannot be read any more.", status=404, where=item, received=error.strerror,
                fix="try another one, or put it back where it was",
            ) from error  # fmt: skip

    def _column(
        self, student: Student, item: MemoryItem | None, side: Side, k: int, deadline: Deadline
    ) -> Column:  # fmt: skip
        if item is None:
            return _column(student, side)
        try:
            with self.service.admit():
                answer, seen = self.service.look(student, item, side, k, deadline)
        except CrossDistillError as error:
            return _column(student, side, problem=error)
        picture = f"data:image/webp;base64,{base64.b64encode(seen).decode()}"
        return _column(student, side, answer=answer, seen=picture)

    def _shown(self, columns: list[Column]) -> str:
        return self._template.render(columns=columns, percent=percent)


def add_page(app: FastAPI, service: Service) -> None:
    """Puts the page at ``/`` of the API's application."""
    page = Page(service)

    @app.post("/page/queries", include_in_schema=False)
    async def keep(request: Request, name: str = "") -> dict[str, str]:
        content = await request.body()
        if not content:
            raise RefusedError("The file is empty.", status=400, where=safe_name(name), received="0 bytes")
        return {"token": service.kept.put(MemoryItem(safe_name(name), content))}

    def mount() -> Any:
        blocks = _layout(page, service)
        gr.mount_gradio_app(
            app, blocks, path="/", server_name="127.0.0.1", footer_links=[], run_history=False, allowed_paths=[],
            show_error=False, max_file_size=1, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False,
            theme=_theme(),
            head=f"<style>{_asset('page.css')}</style>",  # as `css`, Gradio would drop what it does not know
        )  # fmt: skip
        return blocks

    blocks = _in_a_loop(mount)
    # A mounted Gradio counts as not launched, and then takes any path for that of an upload. The gate refuses paths
    # before that; this is the second lock.
    blocks.has_launched = True


def _in_a_loop(make: Callable[[], Any]) -> Any:
    """What ``make`` gives. Where no event loop runs, Gradio would make several and leave them open."""

    async def made() -> Any:
        return make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(made())
    return make()


def _theme() -> Any:
    """Quiet colours, those of page.css, and the fonts of the reader's own machine."""
    return gr.themes.Base(
        primary_hue="cyan", neutral_hue="slate", radius_size="lg", font=_SYSTEM, font_mono=_SYSTEM_MONO
    ).set(
        body_background_fill="#f7f9fa", body_background_fill_dark="#11161b", block_background_fill_dark="#182027",
        block_border_color="#dde3e8", block_border_color_dark="#2b353e", border_color_primary_dark="#2b353e",
        background_fill_primary_dark="#182027", background_fill_secondary_dark="#11161b",
        input_background_fill_dark="#11161b", input_border_color_dark="#2b353e", block_label_text_color="#5b6975",
        checkbox_label_background_fill_dark="#232d35", checkbox_background_color_dark="#11161b",
        checkbox_background_color_selected="#0b6e8a", checkbox_background_color_selected_dark="#5cc2dc",
        slider_color="#0b6e8a", slider_color_dark="#5cc2dc",
    )  # fmt: skip


def _layout(page: Page, service: Service) -> Any:
    first = next(iter(service.students.values()))
    alike = page.alike(first, "target")
    value = json.dumps({"setup": setup_of(first, "target", service.limits), "query": None})
    with gr.Blocks(title="crossdistill", analytics_enabled=False, fill_width=True) as blocks:
        title = gr.HTML(headline(first), apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=0, min_width=344, elem_classes="cd-side"):
                run = gr.Dropdown(
                    [(f"{each.run}: {each.objective}", each.id) for each in service.students.values()], value=first.id,
                    label="Run", interactive=True, visible=len(service.students) > 1,
                )  # fmt: skip
                others = gr.CheckboxGroup(
                    alike, value=[], label="Compare with", visible=bool(alike), interactive=True,
                    elem_classes="cd-others",
                )  # fmt: skip
                query = gr.HTML(
                    value, html_template=_asset("query.html"), js_on_load=_asset("query.js"), apply_default_css=False
                )
                with gr.Accordion("Options", open=False):
                    side = gr.Radio(sides_of(first), value="target", label="The query is of the", interactive=True)
                    k = gr.Slider(3, 48, value=_SHOWN, step=1, label="Nearest items", interactive=True)
            with gr.Column(scale=1, min_width=320):
                results = gr.HTML(
                    page.ask(value, first.id, [], "target", _SHOWN), apply_default_css=False,
                    elem_classes="cd-results",
                )  # fmt: skip
        given = [query, run, others, side, k]
        settings: dict[str, Any] = {
            "inputs": given, "api_visibility": "private", "show_progress": "minimal", "show_progress_on": results,
            "trigger_mode": "always_last", "concurrency_limit": _WORKERS, "concurrency_id": "ask",
        }  # fmt: skip
        gr.on([query.submit, others.input, k.release], page.ask, outputs=results, **settings)
        gr.on([run.input, side.input], page.turn, outputs=[query, results, others, side, title], **settings)
    blocks.queue(max_size=service.limits.waiting, api_open=False)
    return blocks


def headline(student: Student) -> str:
    """What is searched here, above everything."""
    page = templates("crossdistill.serve").get_template("title.html.j2")
    return page.render(student=student, kinds={side: student.modality(side).modality for side in SIDES})


def sides_of(student: Student) -> list[tuple[str, str]]:
    """The two modalities by their names."""
    return [(f"{side} ({student.modality(side).modality})", side) for side in reversed(SIDES)]


def _column(student: Student, side: Side, **shown: Any) -> Column:
    return Column(student, across=other(side), own=side, mapped=len(student.map), map=map_address(student), **shown)


def _query(value: str | None) -> dict[str, Any] | None:
    try:
        content = json.loads(value or "{}")
    except ValueError:
        content = None
    query = content.get("query") if isinstance(content, dict) else None
    return query if isinstance(query, dict) else None


def _asset(name: str) -> str:
    return resources.files("crossdistill.serve").joinpath("templates", name).read_text(encoding="utf-8")
