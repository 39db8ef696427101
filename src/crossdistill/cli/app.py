"""The command ``crossdistill``: what there is, and how errors become one message and an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from crossdistill import __version__
from crossdistill.cli.use import add_to
from crossdistill.errors import CrossDistillError

app = typer.Typer(
    name="crossdistill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's panels take a quarter of a second to import, and help should answer at once
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Carry the knowledge of a pretrained encoder into an encoder for another modality, from unlabelled pairs.",
    epilog="Start with: crossdistill demo; then, on your pairs: crossdistill run CONFIG.yaml",
)
data_app = typer.Typer(no_args_is_help=True, help="Built-in data sets.")
app.add_typer(data_app, name="data")
bank_app = typer.Typer(no_args_is_help=True, help="The teacher's embeddings of the source items.")
app.add_typer(bank_app, name="bank")

Config = Annotated[Path, typer.Argument(help="A YAML configuration.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that replace the file's, such as train.epochs=5.", show_default=False),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
BankPath = Annotated[
    Path, typer.Argument(metavar="BANK_OR_RUN", help="A bank's folder, or a run folder.", show_default=False)
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crossdistill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: crossdistill demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/demo"),
    overrides: Overrides = None,
) -> None:
    """Distil a photograph encoder into one for line drawings, on emoji, in a few minutes."""
    from crossdistill.cli.finish import finish
    from crossdistill.pipeline import demo_config, run

    finish(run(demo_config(), [f"out={out}", *(overrides or [])]).root)


@app.command(epilog="Example: crossdistill run emoji.yaml train.epochs=20 out=runs/longer")
def run(config: Config, overrides: Overrides = None) -> None:
    """All stages that the configuration names, then the report. The same command again goes on where it stopped."""
    from crossdistill.cli.finish import finish
    from crossdistill.pipeline import run as run_all

    finish(run_all(config, overrides).root)


@app.command(epilog="Example: crossdistill pretrain photos.yaml pretrain.epochs=200")
def pretrain(config: Config, overrides: Overrides = None) -> None:
    """Stage 1 alone: a source encoder from unlabelled source items, in RUN/pretrained."""
    from crossdistill.pipeline import run_stage_one

    folder = run_stage_one(config, overrides)
    typer.echo(f"encoder: {folder.pretrained}")


@app.command(epilog="Example: crossdistill distill emoji.yaml objective.temperature=0.1")
def distill(config: Config, overrides: Overrides = None) -> None:
    """Stage 2: the student, in RUN/student (after stage 1 where the configuration names it)."""
    from crossdistill.pipeline import run_stage_two

    folder = run_stage_two(config, overrides)
    typer.echo(f"student: {folder.student}")


@app.command(epilog="Example: crossdistill evaluate runs/demo evaluate.shots=[1,5]")
def evaluate(run: RunPath, overrides: Overrides = None) -> None:
    """Stage 3 on a distilled run: all results and the report anew."""
    from crossdistill.cli.finish import finish
    from crossdistill.pipeline import evaluate as evaluate_run

    finish(evaluate_run(run, overrides).root)


@app.command(epilog="Example: crossdistill report runs/demo")
def report(run: RunPath) -> None:
    """Make the report of an evaluated run again from what its folder holds."""
    from crossdistill.cli.finish import finish
    from crossdistill.report import write_report

    write_report(run)
    finish(run)


@app.command(epilog="Example: crossdistill embed runs/demo --modality target drawings/ --out drawings.parquet")
def embed(
    run: RunPath,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files and folders.", show_default=False)],
    modality: Annotated[str, typer.Option(help="Which encoder: source or target.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write: columns path, embedding.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Embed files of one modality into the shared space."""
    from crossdistill.cli.embed import embed_files

    count, width = embed_files(run, inputs, modality, out, device)
    typer.echo(f"{count} embeddings of {width} dimensions: {out}")


@app.command(epilog="Example: crossdistill audit data/emoji --teacher efficientnet-lite0 --out runs/audit")
def audit(
    pairs: Annotated[
        str,
        typer.Argument(metavar="PAIRS", help="A manifest, a folder with one, a configuration, or a built-in set."),
    ],
    source: Annotated[str | None, typer.Option(help="Source modality: NAME, or key=value,...")] = None,
    target: Annotated[str | None, typer.Option(help="Target modality, likewise.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Judges the pairs: efficientnet-lite0, a run folder, a timm name, or none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for audit.json and audit.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read items; 0 reads them here.")] = 2,
    fail_on: Annotated[str, typer.Option(help="What ends in exit code 9: severe, warning or never.")] = "severe",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Check pairs before any training: unreadable, doubled, leaking, empty, odd and mismatched ones."""
    from crossdistill.cli.audit import audit_pairs

    audit_pairs(pairs, source, target, teacher, out, as_json=as_json, workers=workers, fail_on=fail_on, device=device)


@app.command(epilog="Example: crossdistill advise data/emoji --teacher efficientnet-lite0 --out runs/advice")
def advise(
    pairs: Annotated[
        str,
        typer.Argument(metavar="PAIRS", help="A manifest, a folder with one, a configuration, or a built-in set."),
    ],
    teacher: Annotated[
        str | None, typer.Option(help="The source encoder: efficientnet-lite0, a run folder, or a timm name.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Source modality: NAME, or key=value,...")] = None,
    target: Annotated[str | None, typer.Option(help="Target modality, likewise.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for advice.json and advice.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the verdict.")] = False,
    look_at: Annotated[int, typer.Option("--pairs", help="How many pairs to look at.")] = 400,
    shots: Annotated[int, typer.Option(help="Labels per class of the few-shot task.")] = 5,
    student: Annotated[str | None, typer.Option(help="The pilots' network: a timm name, or mlp for vectors.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read items; 0 reads them here.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Say beforehand whether distillation will help, with how many pairs, and how to begin."""
    from crossdistill.cli.advise import advise_on

    settings: dict[str, object] = {"pairs": look_at, "shots": shots, "student": student, "seed": seed}
    advise_on(pairs, source, target, teacher, out, settings=settings, as_json=as_json, workers=workers, device=device)


@app.command(epilog="Example: crossdistill compare emoji.yaml --objectives cmcd,cmc,l2 --controls random_student")
def compare(
    config: Config,
    overrides: Overrides = None,
    objectives: Annotated[
        str | None, typer.Option(help="Objectives, such as cmcd,l2,l2+cmc; the first is the reference.")
    ] = None,
    controls: Annotated[str | None, typer.Option(help="Controls, such as random_student,supervised.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of the final runs; 5 by default.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Settings tried for each method on the validation split; 4 by default.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The method that others are compared with.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the students of the final runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Compare methods: the same tuning for each, several seeds, paired statistics. Goes on where it stopped."""
    from crossdistill.cli.compare import compare_methods

    compare_methods(config, overrides or [], objectives=objectives, controls=controls, seeds=seeds, trials=trials,
                    reference=reference, jobs=jobs, keep=keep, as_json=as_json)  # fmt: skip


@data_app.command("list", epilog="Example: crossdistill data list")
def data_list() -> None:
    """Sets that can be built here, and sets of the field that are read, with their licences."""
    from crossdistill.cli.data import list_sets

    list_sets()


@data_app.command("build", epilog="Example: crossdistill data build emoji --out data/emoji")
def data_build(
    name: Annotated[str, typer.Argument(help="A name of `crossdistill data list`.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder to write; it gets manifest.csv, source/ and target/.")],
    package: Annotated[
        Path | None, typer.Option("--from", help="The package that the set is made from, as a file or a folder.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of the set.", show_default=False)
    ] = None,
) -> None:
    """Write a built-in set as files and a manifest. The same command again goes on where it stopped."""
    from crossdistill.cli.data import build

    build(name, out, package, workers, options or [])


@bank_app.command("build", epilog="Example: crossdistill bank build emoji.yaml")
def bank_build(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run folder, instead of the configuration's.")] = None,
) -> None:
    """Build a bank, add items that it lacks, or mend it. The same command several times at once shares the work."""
    from crossdistill.cli.bank import build

    build(config, overrides or [], out)


@bank_app.command("verify", epilog="Example: crossdistill bank verify runs/demo")
def bank_verify(bank: BankPath) -> None:
    """Check every shard against its checksum."""
    from crossdistill.cli.bank import verify

    verify(bank)


@bank_app.command("info", epilog="Example: crossdistill bank info runs/demo --json")
def bank_info(
    bank: BankPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """What a bank holds, and of which teacher; also of one that is half built."""
    from crossdistill.cli.bank import info

    info(bank, as_json=as_json)


add_to(app)


def main() -> None:
    """Runs the command line; user errors end in one message on standard error and their exit code."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from crossdistill.cli.many import run_as_rank

        run_as_rank(app)
        return
    try:
        app()
    except CrossDistillError as error:
        tell(error)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, SystemExit) as leaving:
        if isinstance(leaving, SystemExit) and leaving.code != 130:  # typer makes it of Ctrl-C, without a word
            raise
        typer.echo("interrupted; the same command again goes on where it stopped", err=True)
        raise SystemExit(130) from None


def tell(error: CrossDistillError, who: str = "") -> None:
    """Prints a user's mistake."""
    typer.secho(f"error{who}: {error}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
