"""The commands for a finished run: search with it, look at it, carry it away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="An index's folder.", show_default=False)]
Inputs = Annotated[
    list[Path] | None, typer.Argument(metavar="[INPUT...]", help="Files and folders.", show_default=False)
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out, and name, files that cannot be read; else they stop it.")
]
Metadata = Annotated[
    Path | None,
    typer.Option(help="A CSV or Parquet file with a column `path` (as the inputs are given) and any others."),
]

index_app = typer.Typer(no_args_is_help=True, help="An index on disk: search in one modality by the other.")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the root."""
    app.add_typer(index_app, name="index")
    for command, example in (
        (serve, "crossdistill serve runs/demo"),
        (export, "crossdistill export runs/demo --format onnx --out demo-onnx"),
        (publish, "crossdistill publish runs/demo --out demo-model"),
        (doctor, "crossdistill doctor"),
    ):
        app.command(epilog=f"Example: {example}")(command)


@index_app.command("build", epilog="Example: crossdistill index build runs/demo photos/ --out photos.index")
def index_build(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    inputs: Inputs = None,
    modality: Annotated[str, typer.Option(help="What the inputs are: source or target.")] = "source",
    kind: Annotated[str, typer.Option(help="auto, exact, or hnsw (approximate, for millions).")] = "auto",
    metadata: Metadata = None,
    skip_unreadable: SkipUnreadable = False,
    device: Device = "auto",
) -> None:
    """Index files and folders; without any, the run's own items of that modality."""
    from crossdistill.cli.index import build

    build(run, inputs or [], modality, out, kind, metadata, device, skip=skip_unreadable)


@index_app.command("add", epilog="Example: crossdistill index add photos.index more-photos/")
def index_add(
    index: IndexPath,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files and folders.", show_default=False)],
    metadata: Metadata = None,
    run: Annotated[Path | None, typer.Option(help="The run, where it has been moved since.")] = None,
    skip_unreadable: SkipUnreadable = False,
    device: Device = "auto",
) -> None:
    """Add files to an index; those that it has, by content and path, are left as they are."""
    from crossdistill.cli.index import add

    add(index, inputs, metadata, run, device, skip=skip_unreadable)


@index_app.command("query", epilog="Example: crossdistill index query photos.index sketch.png -k 5")
def index_query(
    index: IndexPath,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files and folders.", show_default=False)],
    modality: Annotated[str, typer.Option(help="What the queries are: source or target.")] = "target",
    k: Annotated[int, typer.Option("-k", min=1, help="How many to find.")] = 5,
    run: Annotated[Path | None, typer.Option(help="The run, where it has been moved since.")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """The nearest items of an index for each query, with their cosine similarity."""
    from crossdistill.cli.index import query

    query(index, inputs, modality, k, run, as_json=as_json, device=device)


@index_app.command("mend", epilog="Example: crossdistill index mend photos.index")
def index_mend(index: IndexPath) -> None:
    """Make the graph of an approximate index anew from its vectors, where it is damaged or missing."""
    from crossdistill.cli.index import mend

    mend(index)


@index_app.command("info", epilog="Example: crossdistill index info photos.index --json")
def index_info(index: IndexPath, as_json: AsJson = False) -> None:
    """What an index holds, and by which encoders."""
    from crossdistill.cli.index import info

    info(index, as_json=as_json)


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    gallery: Annotated[
        Path | None, typer.Option(help="A folder of source items, or an index; by default the run's own source items.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On the loopback interface; 0 takes a free one.")] = 7860,
    device: Device = "auto",
) -> None:
    """A page to search by drawing, by file or by sound, and a JSON API, for this machine alone."""
    from crossdistill.cli.serve import serve_runs

    serve_runs(runs, gallery, port, device)


def export(
    run: RunPath,
    form: Annotated[str, typer.Option("--format", help="onnx, torch-export or safetensors.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    modality: Annotated[str, typer.Option(help="Which encoder: source or target.")] = "target",
    given: Annotated[
        str, typer.Option("--input", help="read (the preprocessing is in the graph), decoded, or auto.")
    ] = "auto",
    int8: Annotated[bool, typer.Option("--int8", help="With onnx: also a dynamically quantised model.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference of unit embeddings from PyTorch's.")
    ] = 1e-4,
    items: Annotated[
        list[Path] | None, typer.Option(help="A file or folder to check on; by default the run's own test items.")
    ] = None,
) -> None:
    """Write an encoder for use without crossdistill, and check on real items that it agrees."""
    from crossdistill.cli.export import export_run

    export_run(run, form, out, modality, int8=int8, tolerance=tolerance, given=given, items=items or [])


def publish(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="The folder to write, in the layout of the Hugging Face Hub.")],
    licence: Annotated[str | None, typer.Option(help="Of the weights, such as apache-2.0; for the model card.")] = None,
    teacher: Annotated[bool, typer.Option(help="Whether the teacher goes along.")] = True,
    push: Annotated[str | None, typer.Option(help="A repository NAME/MODEL to upload the folder to.")] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: a new repository is open to all.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --push: do not ask.")] = False,
) -> None:
    """Write a run's encoders with a model card made from its results."""
    from crossdistill.cli.publish import publish_run

    publish_run(run, out, licence, push, teacher=teacher, public=public, agreed=yes)


def doctor(as_json: AsJson = False) -> None:
    """What this machine has, what is missing and how to get it, and a self-test of seconds."""
    from crossdistill.cli.doctor import examine

    examine(as_json=as_json)
