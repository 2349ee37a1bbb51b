"""Commands that build a network and measure it on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import Quiet, print_table
from hwnas.errors import HwnasError, InvalidInput

if TYPE_CHECKING:
    from hwnas.spaces import SearchSpace


def profile(
    space: Annotated[
        str, typer.Option(help="Name of a space, or an experiment YAML that has one.")
    ],
    count: Annotated[int, typer.Option(help="Networks to measure, beside the anchor.", min=1)],
    out: Annotated[Path, typer.Option(help="The CSV to make, or to go on with.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Of latency, energy and memory, with commas [all that are there]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Sequences a pass.", min=1)] = 8,
    tokens: Annotated[int | None, typer.Option(help="A sequence [the context].", min=1)] = None,
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16.")] = "auto",
    mode: Annotated[str, typer.Option(help="auto, graph, eager, compiled.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of torch on a CPU.", min=1)] = None,
    within: Annotated[
        float, typer.Option(help="How sure a latency is to be.", min=1e-4, max=1.0)
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Of the choice of networks.", min=0)] = 0,
    anchor_every: Annotated[
        int, typer.Option(help="Networks between two looks at the anchor.", min=1)
    ] = 10,
    quiet: Quiet = False,
) -> None:
    """Measure networks that say most of a space, on this machine, into a CSV.

    The same command goes on with a CSV that is there, also to a greater --count. One network, the
    anchor, is measured again and again, to show how far the machine drifts.
    """
    from hwnas.profiling.device_profiler import Bench
    from hwnas.profiling.meters.forward_pass import PassSettings
    from hwnas.profiling.survey.drift import describe_row
    from hwnas.profiling.survey.survey import run_survey

    passes: Any = {"batch_size": batch_size, "tokens": tokens, "threads": threads}
    passes |= {"precision": precision, "mode": mode}
    bench = Bench(device=device, passes=PassSettings(**passes), within=within)
    asked = list(bench.metrics) if metrics is None else metrics.replace(" ", "").split(",")
    units = {name: metric.unit for name, metric in bench.metrics.items()}

    def report(row: Any, done: int) -> None:
        where = "anchor" if row["role"] == "anchor" else f"{done} of {count}"
        typer.echo(f"{where}: {describe_row(row, units)}", err=True)

    try:
        summary = run_survey(
            _space_of(space),
            bench,
            asked,
            out,
            count=count,
            seed=seed,
            anchor_every=anchor_every,
            report=None if quiet else report,
        )
    except KeyboardInterrupt:
        raise HwnasError(f"stopped; {out} keeps what is done, the same command goes on") from None
    if not quiet:
        print_table(*summary.table())
        typer.echo(f"{out}: {summary}")


def build(
    arch: Annotated[str, typer.Argument(help="As in gpt-s-12-768-...")],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    space: Annotated[
        str | None,
        typer.Option(help="As for profile; by default the space that the name begins with."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of its first weights.", min=0)] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A training's checkpoint, for its weights.")
    ] = None,
) -> None:
    """Write a network for use elsewhere: config.json and model.safetensors."""
    from hwnas.profiling.export.safetensors import save_model
    from hwnas.profiling.gpt import build_gpt
    from hwnas.profiling.training.checkpoint import read_weights
    from hwnas.spaces.architecture import Architecture

    parsed = Architecture.parse(arch)
    model = build_gpt(_space_of(space or parsed.space), parsed, seed=seed)
    if checkpoint is not None:
        model.load_state_dict(read_weights(checkpoint, model))
    folder = save_model(model, out)
    typer.echo(f"{folder}: config.json, model.safetensors ({model.params:,} parameters)")


def _space_of(named: str) -> SearchSpace:
    """A named space, or that of an experiment's YAML."""
    from hwnas.spaces import space
    from hwnas.yaml_loader import read_yaml

    if not named.endswith((".yaml", ".yml")):
        return space(named)
    content = read_yaml(Path(named))
    if "space" not in content:
        raise InvalidInput(f"{named}: expected an experiment with the key space, found none")
    return space(content["space"])
