"""The command `init`: a commented experiment YAML after three questions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import echo
from hwnas.errors import HwnasError, InvalidInput
from hwnas.files import check_output

_TEMPLATE = """\
# An experiment of hwnas. Run it with: hwnas run {file}
name: {name}  # the results go to runs/{name}
space: {space}  # hwnas list spaces
objectives:  # two to five, minimized; -NAME is maximized: hwnas list metrics
  - perplexity
  - {objective}
# constraints: [bfloat16_memory <= 600]  # MB; only architectures within the bound count
optimizers: [random, additive]  # hwnas list optimizers -v
budget: {{evaluations: {evaluations}}}  # of each search; and / or cost, seconds
seeds: 3  # each optimizer runs three searches; 6 or more to compare them
noise: false  # true: observe noisy measurements instead of medians
# sweep: {{device: [h100, {device}]}}  # a run for each, with latency@$device above
"""


def init(
    file: Annotated[Path, typer.Argument(help="The YAML to write.")] = Path("experiment.yaml"),
    space: Annotated[
        str | None, typer.Option(help="Architectures to search [asked, else gpt-s].")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device to run on [asked, else rtx3080].")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What matters beside perplexity [asked, else latency]."),
    ] = None,
    evaluations: Annotated[
        int, typer.Option(help="Architectures that each search may measure.", min=1)
    ] = 100,
) -> None:
    """Write a commented experiment after three questions, or from options.

    Where nobody can answer, as in a script, what is not given takes its default.

    Examples:

    hwnas init

    hwnas init mine.yaml --space gpt-l --device h100 --metric energy
    """
    from hwnas.problem import load_experiment
    from hwnas.yaml_loader import parse_yaml

    if file.exists():
        raise InvalidInput(f"{file}: is there already; choose another file")
    check_output(file)
    for option, value in (("--space", space), ("--device", device), ("--metric", metric)):
        if value is not None and (not value or "@" in value):
            raise InvalidInput(f"{option}: expected one name, without a device, found {value!r}")
    space = space or _answer("Which architectures? (hwnas list spaces)", "gpt-s")
    device = device or _answer("For which device? (hwnas list devices)", "rtx3080")
    metric = metric or _answer("What matters beside perplexity? (hwnas list metrics)", "latency")
    objective = f"{metric}@{device}" if metric.split(".")[0] not in _FREE else metric
    text = _TEMPLATE.format(
        file=file,
        name=file.stem,
        space=space,
        objective=objective,
        device=device,
        evaluations=evaluations,
    )
    try:
        load_experiment(parse_yaml(text))  # a file that cannot run is not written
    except HwnasError as error:
        raise InvalidInput(f"init: {error}") from None
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None
    echo(f"{file}: run it with: hwnas run {file}")


# Exact counts, which are of no device.
_FREE = {"params", "flops", "kv_cache", "weight_memory", "float16_memory", "bfloat16_memory"}


def _answer(question: str, default: str) -> str:
    """Return the answer to a question; the default where nobody is there to answer."""
    if not sys.stdin.isatty():
        return default
    answer: str = typer.prompt(question, default=default, err=True)
    return answer.strip()
