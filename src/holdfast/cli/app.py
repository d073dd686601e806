"""The verbs. Heavy imports wait until a verb needs them, so that `--help` and `list` are quick."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from holdfast.cli.opening import Source
from holdfast.cli.supplying import VERBS
from holdfast.core.errors import HoldfastError


class Verbs(TyperGroup):
    """Turns what a user can mend into one line; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except HoldfastError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            typer.echo("stopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=Verbs,
    name="holdfast",
    help="May this model go live, what breaks it, and what do we do about it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Option(
        help="file.py:factory, model.onnx, model.skops, model.joblib, or http://host/v2/models/name"
    ),
]
Weights = Annotated[str | None, typer.Option(help="safetensors file for a file.py:factory model")]
Data = Annotated[
    str,
    typer.Option(
        help="digits, breast-cancer, or a path: IDX, image folder or zip, npz, csv, parquet"
    ),
]
Label = Annotated[str | None, typer.Option(help="label column of a table")]
Sensitive = Annotated[
    list[str] | None, typer.Option(help="sensitive column, kept from the model; may be repeated")
]
Trust = Annotated[bool, typer.Option("--trust", help="load a pickled model whose scan was clean")]
Out = Annotated[Path, typer.Option(help="folder for the report")]
Seed = Annotated[int, typer.Option(help="root of all random streams")]


@app.command()
def demo(out: Out = Path("runs/demo"), seed: Seed = 0) -> None:
    """Train a digit classifier, break it, harden it, and let the policy judge both."""
    from holdfast.cli.demo import run

    run(out, seed)


@app.command()
def assess(  # noqa: PLR0913
    model: Model,
    data: Data,
    weights: Weights = None,
    label: Label = None,
    sensitive: Sensitive = None,
    profile: Annotated[
        str, typer.Option(help="a shipped profile or a plan file; chosen by the data if left out")
    ] = "",
    out: Out = Path("runs/latest"),
    trust: Trust = False,
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="check.key=value on top of the plan; may be repeated"),
    ] = None,
) -> None:
    """Run every check of a profile that the model allows, and write the report.

    Checks that are finished are not run again: after a kill, the same command goes on.
    """
    from holdfast.cli.assessing import run

    source = Source(model, data, weights, label, tuple(sensitive or ()), trust)
    run(source, profile, tuple(set_ or ()), out, seed)


@app.command()
def attack(  # noqa: PLR0913
    model: Model,
    data: Data,
    weights: Weights = None,
    label: Label = None,
    method: Annotated[
        list[str] | None, typer.Option(help="id of an attack, such as evasion/pgd; may be repeated")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="a family of attacks, such as all-white-box, or a plan file")
    ] = "",
    norm: Annotated[str | None, typer.Option(help="linf, l2, l1 or l0")] = None,
    eps: Annotated[
        list[str] | None, typer.Option(help="budget such as 8/255; may be repeated")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="attack at most so many rows", min=1)] = None,
    queries: Annotated[
        int | None, typer.Option(help="model passes allowed per row and budget", min=1)
    ] = None,
    target_class: Annotated[
        int | None, typer.Option(help="index of the class inputs are to be answered as", min=0)
    ] = None,
    immutable: Annotated[
        list[str] | None, typer.Option(help="column that nobody can change; may be repeated")
    ] = None,
    rise: Annotated[
        list[str] | None, typer.Option(help="column that may only rise; may be repeated")
    ] = None,
    fall: Annotated[
        list[str] | None, typer.Option(help="column that may only fall; may be repeated")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help=".npy of one input's shape: not zero where change is allowed"),
    ] = None,
    out: Out = Path("runs/attack"),
    trust: Trust = False,
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="parameter=value of the attack; may be repeated"),
    ] = None,
) -> None:
    """Attack a model with one method or a family; prints what stands and writes the report."""
    from holdfast.cli.attacking import Options, run

    rules = (tuple(immutable or ()), tuple(rise or ()), tuple(fall or ()))
    source = Source(model, data, weights, label, (), trust, *rules)
    given = Options(norm, tuple(eps or ()), rows, queries, target_class, mask)
    run(source, tuple(method or ()), profile, tuple(set_ or ()), given, out, seed)


@app.command()
def diagnose(  # noqa: PLR0913
    model: Model,
    data: Data,
    weights: Weights = None,
    label: Label = None,
    norm: Annotated[str, typer.Option(help="linf, l2 or l1")] = "linf",
    eps: Annotated[str, typer.Option(help="budget such as 8/255")] = "0.1",
    rows: Annotated[int, typer.Option(help="held-out rows to look at", min=20)] = 200,
    trust: Trust = False,
    seed: Seed = 0,
) -> None:
    """Is the model robust, or does it hide its gradient? Exits 1 when it hides."""
    from holdfast.cli.diagnosing import run

    raise typer.Exit(run(Source(model, data, weights, label, (), trust), norm, eps, rows, seed))


@app.command()
def harden(
    model: Model,
    data: Data,
    label: Label = None,
    remedy: Annotated[str, typer.Option(help="id of a training defence")] = "evasion/pgd_training",
    out: Out = Path("runs/hardened"),
    seed: Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="parameter=value of the remedy; may be repeated"),
    ] = None,
) -> None:
    """Train the model anew with a defence; writes safetensors and ONNX."""
    from holdfast.cli.hardening import run

    run(Source(model, data, None, label), remedy, tuple(set_ or ()), out, seed)


@app.command()
def review(
    number: Annotated[
        int | None, typer.Argument(help="assessment number; the newest if left out")
    ] = None,
    policy: Annotated[str, typer.Option(help="a shipped policy or a YAML file")] = "default",
    tier: Annotated[str, typer.Option(help="risk tier: low, medium or high")] = "medium",
    out: Annotated[
        Path | None, typer.Option(help="write the report with this verdict here")
    ] = None,
) -> None:
    """Let the policy decide from stored evidence; exits 1 when it says no."""
    from holdfast.cli.reviewing import run

    raise typer.Exit(run(number, policy, tier, out))


@app.command()
def report(
    number: Annotated[
        int | None, typer.Argument(help="assessment number; the newest if left out")
    ] = None,
    out: Out = Path("runs/latest"),
) -> None:
    """Write the report of a stored assessment again; runs nothing."""
    from holdfast.cli.reviewing import rewrite

    rewrite(number, out)


@app.command()
def scan(
    paths: Annotated[list[Path], typer.Argument(help="model files, folders, archives")],
    json: Annotated[Path | None, typer.Option(help="write everything here; - for stdout")] = None,
    sarif: Annotated[Path | None, typer.Option(help="write SARIF 2.1.0 here; - for stdout")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="files that are read at once")] = 1,
    convert: Annotated[
        Path | None,
        typer.Option(help="instead, write a torch checkpoint's tensors here as safetensors"),
    ] = None,
) -> None:
    """Say what is in model files without loading them; exits 1 unless every file is clean."""
    from holdfast.cli.scanning import rewrite, run

    if convert is not None:
        rewrite(paths, convert)
        return
    raise typer.Exit(run(paths, json, sarif, jobs))


@app.command("list")
def list_(
    domain: Annotated[str, typer.Argument(help="only this domain, such as evasion")] = "",
    kind: Annotated[str, typer.Option(help="only this kind, such as EvasionAttack")] = "",
) -> None:
    """All methods."""
    from holdfast.cli.listing import list_methods

    list_methods(domain, kind)


Page = Annotated[Path | None, typer.Option(help="write it as a page with the graph drawn")]


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="ID|FILE", help="evasion/pgd, or model.onnx")],
    page: Page = None,
) -> None:
    """What a method does and needs, or what a model file is made of."""
    if Path(what).suffix or Path(what).is_file():  # ids of methods have no dot
        from holdfast.cli.browsing import show_file

        show_file(Path(what), page)
        return
    from holdfast.cli.listing import show_method

    show_method(what)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="model file")],
    second: Annotated[Path, typer.Argument(help="model file")],
    page: Page = None,
) -> None:
    """What distinguishes two model files: weights to the bit, operators, edges; exits 1 if anything."""
    from holdfast.cli.browsing import diff_files

    raise typer.Exit(diff_files(first, second, page))


for _verb in VERBS:
    app.command(_verb.__name__.replace("_", "-"))(_verb)


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    """Holdfast: one security platform for machine-learning models."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"holdfast {installed('holdfast')}")
        raise typer.Exit
