"""The command `shrink`: smaller versions of a trained model."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import Quiet, echo
from hwnas.cli.model_commands import ModelFormat
from hwnas.errors import HwnasWarning, InvalidInput

if TYPE_CHECKING:
    from hwnas.shrinking.selection import Member

_REPORT_SECONDS = 10.0  # between two lines of progress of one kind


def shrink(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL_DIR",
            help="A LlamaForCausalLM as safetensors, or a directory of hwnas build.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory to create, or to continue.")],
    workload: Annotated[str, typer.Option(help="Workload whose time is minimized.")] = "serve",
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda: measured here; or the name of a device of yours."),
    ] = "auto",
    on: Annotated[str, typer.Option(help="Device of scores and evaluations: auto, cpu, cuda.")] = (
        "auto"
    ),
    text: Annotated[
        str, typer.Option(help="A file, a folder, hf:NAME, stdlib or pydoc.")
    ] = "pydoc",
    separator: Annotated[
        str | None, typer.Option(help="String between two documents of a file.")
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share of the text for evaluations.")] = 0.1,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="bytes, gpt2, FILE.json or hf:NAME [tokenizer.json of MODEL_DIR]."),
    ] = None,
    vocabulary: Annotated[str | None, typer.Option(help="A file gpt2.tiktoken.")] = None,
    window: Annotated[int, typer.Option(help="Tokens of a sequence [512].", min=1)] = 512,
    calibration_tokens: Annotated[
        int, typer.Option(help="Tokens of the scores, of the training part.", min=1)
    ] = 131_072,
    held_out_tokens: Annotated[
        int, typer.Option(help="Held-out tokens of an evaluation, at most.", min=1)
    ] = 200_000,
    importance: Annotated[
        str, typer.Option(help="How parts are kept: activation, wanda, taylor.")
    ] = "wanda",
    head_steps: Annotated[int, typer.Option(help="Sizes of attention above none.", min=1)] = 4,
    mlp_steps: Annotated[int, typer.Option(help="Sizes of an MLP above none.", min=1)] = 4,
    networks: Annotated[int, typer.Option(help="Networks to measure for the times.", min=6)] = 30,
    evaluations: Annotated[
        int, typer.Option(help="Members to evaluate, the model included.", min=2)
    ] = 60,
    max_perplexity: Annotated[
        float, typer.Option(help="Multiple of the model's perplexity up to which to search.")
    ] = 3.0,
    at: Annotated[
        list[float] | None,
        typer.Option(help="Share of the model's time for which to export a member: 0.7, ..."),
    ] = None,
    heal: Annotated[
        int, typer.Option(help="Tokens of the distillation of each of these members.", min=0)
    ] = 0,
    format_: Annotated[
        list[ModelFormat] | None,
        typer.Option("--format", help="Format of the members; can be repeated [safetensors]."),
    ] = None,
    workload_file: Annotated[
        Path | None, typer.Option(help="YAML with your own workloads.")
    ] = None,
    max_seconds: Annotated[
        float, typer.Option(help="Maximum duration of the measurement of one time.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the search.", min=0)] = 0,
    quiet: Quiet = False,
) -> None:
    """Find the smaller, faster versions of a trained model that lose least.

    Fewer heads, narrower MLPs, no attention or MLP, or no layer at all, for each layer. The same
    command continues a directory. hwnas run OUT/experiment.yaml searches with any optimizer.

    Examples:

    hwnas shrink my-llama --out smaller --workload chat
    """
    from hwnas.shrinking.plan import Plan
    from hwnas.shrinking.pretrained import load_pretrained
    from hwnas.shrinking.selection import export_member, member_within
    from hwnas.shrinking.workflow import shrink as shrink_model
    from hwnas.workloads import load_workloads

    if quiet:
        warnings.simplefilter("ignore", HwnasWarning)
    for share in at or ():
        if not 0 < share <= 1:
            raise InvalidInput(f"--at: expected a share above 0 and at most 1, found {share}")
    if not at and (heal or format_):
        given = "--heal" if heal else "--format"
        raise InvalidInput(
            f"{given}: expected --at too, the share of the time of a member: --at 0.7"
        )
    if 0 < heal < (needed := min(window, load_pretrained(model, device="meta").context)):
        raise InvalidInput(
            f"--heal: expected at least {needed} tokens, those of a sequence, found {heal}"
        )
    own = model / "tokenizer.json"
    plan = Plan(
        model=str(model),
        text=text,
        separator=separator,
        held_out=held_out,
        tokenizer=tokenizer or (str(own) if own.is_file() else "bytes"),
        vocabulary=vocabulary,
        window=window,
        calibration_tokens=calibration_tokens,
        held_out_tokens=held_out_tokens,
        importance=importance,  # type: ignore[arg-type]  # checked there
        head_steps=head_steps,
        mlp_steps=mlp_steps,
    )
    say = _Progress(quiet)
    result = shrink_model(
        plan,
        out,
        workload=workload,
        device=device,
        on=on,
        workloads=load_workloads(None if workload_file is None else str(workload_file)),
        networks=networks,
        evaluations=evaluations,
        max_perplexity=max_perplexity,
        max_seconds=max_seconds,
        seed=seed,
        say=say,
    )
    if not quiet:
        echo((out / "report.md").read_text(encoding="utf-8").rstrip())
    for share in at or ():
        member_within(result, share)  # refused before the first member is healed
    for share in at or ():
        member = export_member(
            result,
            share,
            tokens=heal,
            formats=[item.value for item in format_ or [ModelFormat.safetensors]],
            say=say,
        )
        if not quiet:
            echo(member_line(member))


def member_line(member: Member) -> str:
    """Return a line on an exported member."""
    text = f"{member.folder}: {member.share:.0%} of the time, perplexity {member.perplexity:.4g}"
    if member.healed is not None:
        text += f", healed {member.healed:.4g} (model: {member.of_model:.4g})"
    return text


class _Progress:
    """Lines of progress on standard error, not more than one of a kind in `_REPORT_SECONDS`."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.last: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        kind, now = line.partition(" ")[0], time.monotonic()
        if not self.quiet and now - self.last.get(kind, 0.0) >= _REPORT_SECONDS:
            self.last[kind] = now
            echo(line, err=True)
