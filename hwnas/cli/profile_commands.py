"""Commands that build models and measure them on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.cli.console import Quiet, echo, print_table
from hwnas.errors import HwnasError


def profile(
    space: Annotated[
        str, typer.Option(help="Name of a search space, or a YAML of a space or an experiment.")
    ],
    count: Annotated[
        int, typer.Option(help="Architectures to measure, not counting the anchor.", min=1)
    ],
    out: Annotated[Path, typer.Option(help="CSV file to create or to continue.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Comma-separated: latency, energy, memory [all that are available]."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Sequences per forward pass.", min=1)] = 8,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens per sequence [the context].", min=1)
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16.")] = "auto",
    mode: Annotated[str, typer.Option(help="auto, graph, eager, compiled.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of torch on a CPU [torch's default].", min=1)
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            help="Target precision of a latency: half-width of its 95 % confidence interval.",
            min=1e-4,
            max=1.0,
        ),
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the choice of architectures.", min=0)] = 0,
    anchor_every: Annotated[
        int, typer.Option(help="Architectures between two measurements of the anchor.", min=1)
    ] = 10,
    quiet: Quiet = False,
) -> None:
    """Measure the most informative architectures of a space on this machine, into a CSV file.

    The same command continues an existing file, also to a larger --count. One architecture, the
    anchor, is measured repeatedly to show the drift of the machine.
    """
    # torch is imported only when a command needs it.
    from hwnas.profiling.device_profiler import DeviceProfiler
    from hwnas.profiling.meters.forward_pass import PassSettings
    from hwnas.profiling.survey.drift import describe_row
    from hwnas.profiling.survey.survey import run_survey
    from hwnas.spaces import load_space, require_language_model

    passes: Any = {"batch_size": batch_size, "tokens": tokens, "threads": threads}
    passes |= {"precision": precision, "mode": mode}
    profiler = DeviceProfiler(device=device, passes=PassSettings(**passes), within=within)
    names = list(profiler.metrics) if metrics is None else metrics.replace(" ", "").split(",")
    units = {name: metric.unit for name, metric in profiler.metrics.items()}

    def report(row: Any, n_measured: int) -> None:
        label = "anchor" if row["role"] == "anchor" else f"{n_measured} of {count}"
        echo(f"{label}: {describe_row(row, units)}", err=True)

    try:
        summary = run_survey(
            require_language_model(load_space(space)),
            profiler,
            names,
            out,
            count=count,
            seed=seed,
            anchor_every=anchor_every,
            report=None if quiet else report,
        )
    except KeyboardInterrupt:
        # Each row is on the disk as soon as it is measured, so nothing has to be saved here.
        raise HwnasError(
            f"stopped; {out} contains all results so far, the same command continues"
        ) from None
    if not quiet:
        print_table(*summary.table())
        echo(f"{out}: {summary}")


def build(
    arch: Annotated[str, typer.Argument(help="Architecture, such as gpt-s-12-768-...")],
    out: Annotated[Path, typer.Option(help="Directory to create.")],
    space: Annotated[
        str | None,
        typer.Option(help="As for profile [the space that the architecture's name begins with]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.", min=0)] = 0,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint of a training, to use its weights.")
    ] = None,
) -> None:
    """Write a model for use elsewhere: config.json and model.safetensors."""
    from hwnas.profiling.export.safetensors import save_model
    from hwnas.profiling.language_model import build_model
    from hwnas.profiling.training.checkpoint import read_weights
    from hwnas.spaces import load_space, require_language_model
    from hwnas.spaces.architecture import split_string

    name, *_ = split_string(arch, "expected SPACE-LAYERS-WIDTH-...-True|False")
    members = require_language_model(load_space(space or name))
    model = build_model(members, members.parse(arch), seed=seed)
    if checkpoint is not None:
        model.load_state_dict(read_weights(checkpoint, model))
    folder = save_model(model, out)
    echo(f"{folder}: config.json, model.safetensors ({model.params:,} parameters)")
