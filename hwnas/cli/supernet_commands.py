"""Commands for supernets: train one, and evaluate architectures with its weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import Quiet, echo, print_table
from hwnas.errors import HwnasError, InvalidInput

if TYPE_CHECKING:
    from hwnas.profiling.data.corpus import Corpus
    from hwnas.profiling.supernet.evaluation import InheritedPerplexity
    from hwnas.profiling.supernet.parallel import Group
    from hwnas.profiling.supernet.supernet_file import Description
    from hwnas.profiling.supernet.train_loop import SupernetProgress
    from hwnas.spaces import LanguageModelSpace

supernet = typer.Typer(
    help="Supernets: one training on your text, from which every architecture takes its weights.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_REPORT_SECONDS = 10.0  # between two lines of progress
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]
_Tokens = Annotated[int | None, typer.Option(help="Held-out tokens at most [all].", min=1)]
_Seed = Annotated[int, typer.Option(help="Seed of the random architectures.", min=0)]


@supernet.command()
def train(
    space: Annotated[str, typer.Argument(help="Name of a space, or its YAML file.")],
    out: Annotated[Path, typer.Option(help="File of the weights, such as supernet.safetensors.")],
    steps: Annotated[int, typer.Option(help="Steps of the training.", min=1)],
    text: Annotated[
        str, typer.Option(help="A file, a folder, hf:NAME, stdlib or pydoc.")
    ] = "pydoc",
    separator: Annotated[
        str | None, typer.Option(help="String between two documents of a file.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the text on which perplexity is measured.")
    ] = 0.1,
    tokenizer: Annotated[str, typer.Option(help="bytes, gpt2, FILE.json or hf:NAME.")] = "bytes",
    vocabulary: Annotated[str | None, typer.Option(help="A file gpt2.tiktoken.")] = None,
    batch_size: Annotated[
        int, typer.Option(help="Sequences of a step, of all processes together.", min=1)
    ] = 16,
    accumulate: Annotated[
        int, typer.Option(help="Parts of a batch, one after the other, to save memory.", min=1)
    ] = 1,
    learning_rate: Annotated[float, typer.Option(help="Maximum of the learning rate.")] = 1e-3,
    sampled: Annotated[
        int, typer.Option(help="Random architectures of a step, beside the two extremes.", min=0)
    ] = 2,
    distillation: Annotated[
        float, typer.Option(help="Share of the largest network's predictions in the targets.")
    ] = 0.5,
    order: Annotated[
        float,
        typer.Option(
            help="Share of the steps for the largest network alone, after which its heads and "
            "neurons are ordered by importance."
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches, architectures.", min=0)] = 0,
    device: _Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16.")] = "auto",
    compile: Annotated[str, typer.Option(help="auto, off, blocks.")] = "auto",
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between two checkpoints.", min=1)
    ] = 500,
    seconds: Annotated[
        float | None,
        typer.Option(help="Stop after this time; the same command continues.", min=0.0),
    ] = None,
    peak_tflops: Annotated[
        float | None,
        typer.Option(help="Peak throughput of an unknown GPU, for the utilization.", min=0.001),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train the shared weights of a space; the same command continues a training.

    On several GPUs: torchrun --nproc-per-node 8 --no-python hwnas supernet train ...

    Examples:

    hwnas supernet train gpt-s --steps 10000 --out gpt-s.safetensors
    """
    from hwnas.profiling.supernet.config import SupernetSettings
    from hwnas.profiling.supernet.parallel import process_group
    from hwnas.profiling.training.config import TrainingSettings
    from hwnas.spaces import load_space, require_language_model

    begin = time.monotonic()
    if compile == "whole":
        raise InvalidInput("compile: expected auto, off or blocks; each step has other networks")
    members = require_language_model(load_space(space))
    arguments: dict[str, Any] = {"precision": precision, "compile": compile, "seed": seed}
    training = TrainingSettings(
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        **arguments,
    )
    settings = SupernetSettings(
        training=training, sampled=sampled, distillation=distillation, order=order
    )
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if out.exists() and not checkpoint.exists():
        raise InvalidInput(f"{out}: is there already; choose another with --out")
    source = {
        "source": text,
        "separator": separator,
        "held_out": held_out,
        "tokenizer_name": tokenizer,
        "vocabulary": vocabulary,
    }
    with process_group(device) as group:
        say = (lambda line: None) if quiet or group.rank else _say
        corpus = _corpus(members, source, group)
        limits = {
            "checkpoint": checkpoint,
            "checkpoint_every": checkpoint_every,
            # The preparation of the text counts as well.
            "end": float("inf") if seconds is None else begin + seconds,
            "peak_tflops": peak_tflops,
        }
        _train(members, corpus, source, settings, group, out, limits, say)


def _train(
    space: LanguageModelSpace,
    corpus: Corpus,
    source: dict[str, Any],
    settings: Any,
    group: Group,
    out: Path,
    limits: dict[str, Any],
    say: Callable[[str], None],
) -> None:
    """Train the weights of a space and write them."""
    from hwnas.profiling.supernet.shared_weights import SharedWeights
    from hwnas.profiling.supernet.supernet_file import Description, write_supernet
    from hwnas.profiling.supernet.train_loop import train_supernet
    from hwnas.profiling.training.repetition import repetition_note

    if note := repetition_note(corpus, settings.training, space.context):
        say(note)
    shared = SharedWeights(space, device=group.device)
    shared.reset(settings.training.seed)
    peak = _peak(group, settings.training.precision, limits["peak_tflops"])
    try:
        progress = train_supernet(
            shared,
            corpus.train,
            settings,
            group=group,
            checkpoint=limits["checkpoint"],
            checkpoint_every=limits["checkpoint_every"],
            max_seconds=limits["end"] - time.monotonic(),
            peak_flops=peak,
            report=_Reporter(settings.training.steps, say),
            log=say,
        )
    except KeyboardInterrupt:
        raise HwnasError(
            f"stopped; {limits['checkpoint']} has the training up to its last checkpoint, the same "
            "command continues"
        ) from None
    if group.rank == 0:
        write_supernet(
            out,
            shared,
            Description(
                space=space.to_dict(),
                text=source,
                text_sha256=corpus.sha256,
                settings=settings.to_dict(),
                step=progress.step,
            ),
        )
        is_complete = progress.step == settings.training.steps
        if is_complete:
            limits["checkpoint"].unlink(missing_ok=True)
        rest = "" if is_complete else f" of {settings.training.steps}; the same command continues"
        say(f"{out}: {progress.step} steps{rest}")


@supernet.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="Weights of a supernet.")],
    archs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH]...",
            help="Architectures, files of them such as front.csv, or - for standard input. "
            "Without any, --count random ones.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Random architectures to evaluate.", min=1)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to create or to continue [a table on screen].")
    ] = None,
    tokens: _Tokens = None,
    seed: _Seed = 0,
    device: _Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compute perplexities of architectures with inherited weights, on the held-out text.

    The text is that of the training, of which the same documents are held out.

    Examples:

    hwnas supernet evaluate gpt-s.safetensors front.csv
    """
    from hwnas.cli.chosen_networks import read_archs
    from hwnas.profiling.supernet.evaluation import sample_architectures

    if bool(archs) == (count is not None):
        raise InvalidInput("supernet evaluate: expected either architectures or --count")

    def choose(space: LanguageModelSpace) -> list[Any]:
        if count is not None:
            return sample_architectures(space, count, seed)
        chosen = [located.arch for located in read_archs(archs or [], space)]
        return space.decode(space.encode(chosen))

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "rows.csv") if out is None else out
        rows, _ = _evaluate(file, choose, target, tokens, device, quiet)
    if out is None:
        print_table(["arch", "perplexity", "params"], rows)
    elif not quiet:
        echo(f"{out}: {len(rows)} new architectures")


@supernet.command()
def fit(
    file: Annotated[Path, typer.Argument(help="Weights of a supernet.")],
    out: Annotated[Path, typer.Option(help="Tables to write, NAME.npz.")],
    count: Annotated[int, typer.Option(help="Random architectures to evaluate.", min=10)] = 2000,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to create or to continue [beside --out].")
    ] = None,
    tokens: _Tokens = None,
    seed: _Seed = 0,
    device: _Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Evaluate random architectures, and fit tables of perplexity to them as hwnas fit does.

    Examples:

    hwnas supernet fit gpt-s.safetensors --out perplexity.npz
    """
    from hwnas.cli.fit_command import FIGURE_HEADER, figure_row
    from hwnas.fitting import fit as fit_metrics
    from hwnas.profiling.supernet.evaluation import sample_architectures

    if out.suffix != ".npz":
        raise InvalidInput(f"{out}: expected a name that ends in .npz")
    target = out.with_suffix(".csv") if csv is None else csv
    _, space = _evaluate(
        file, lambda space: sample_architectures(space, count, seed), target, tokens, device, quiet
    )
    tables = fit_metrics([target], ["perplexity"], out, space=space)
    print_table(FIGURE_HEADER, [figure_row(figure) for figure in tables.figures])
    echo(f"\n{out}")


def _evaluate(
    file: Path,
    choose: Callable[[LanguageModelSpace], list[Any]],
    target: Path,
    tokens: int | None,
    device: str,
    quiet: bool,
) -> tuple[list[list[str]], LanguageModelSpace]:
    """Evaluate architectures of a supernet into a CSV file; return its new rows, and the space."""
    from hwnas.profiling.data.tokenizer import first_tokens
    from hwnas.profiling.supernet.evaluation import evaluate_into
    from hwnas.profiling.supernet.parallel import process_group
    from hwnas.profiling.supernet.supernet_file import read_supernet

    rows: list[list[str]] = []
    with process_group(device) as group:
        shared, description = read_supernet(file, device=group.device)
        chosen = choose(shared.space)
        corpus = _corpus(shared.space, description.text, group)
        _check_text(file, corpus, description)
        evaluate_into(
            target,
            shared,
            chosen,
            first_tokens(corpus.held_out, tokens),
            step=description.step,
            report=_Rows(len(chosen), rows, (lambda line: None) if quiet else _say),
        )
    return rows, shared.space


class _Reporter:
    """Lines of progress of a training, not more than one in `_REPORT_SECONDS`, and a last one."""

    def __init__(self, steps: int, say: Callable[[str], None]) -> None:
        self.steps, self.say, self.last = steps, say, time.monotonic()

    def __call__(self, progress: SupernetProgress) -> None:
        now = time.monotonic()
        if now - self.last < _REPORT_SECONDS and progress.step < self.steps:
            return
        self.last = now
        largest, smallest = progress.losses
        line = f"step {progress.step} of {self.steps}: loss {largest:.3f} (largest)"
        line += "" if smallest != smallest else f", {smallest:.3f} (smallest)"
        line += f", {progress.tokens_per_second:,.0f} tokens/s"
        if progress.utilisation is not None:
            line += f", {progress.utilisation:.0%} of the peak"
        seconds_left = (self.steps - progress.step) * progress.seconds / progress.step
        self.say(line + (f", {seconds_left / 60:.0f} min left" if seconds_left > 60 else ""))


class _Rows:
    """Lines of progress of an evaluation, and the rows of its table."""

    def __init__(self, total: int, rows: list[list[str]], say: Callable[[str], None]) -> None:
        self.total, self.rows, self.say = total, rows, say
        self.start = self.last = time.monotonic()

    def __call__(self, count: int, row: InheritedPerplexity) -> None:
        result = row.result
        value = "-" if result is None else f"{result.value:.3f}"
        self.rows.append([str(row.arch), value, f"{row.params:,}"])
        now = time.monotonic()
        if now - self.last >= _REPORT_SECONDS:
            self.last = now
            rate = len(self.rows) / (now - self.start) * 60
            self.say(f"{count} of {self.total} architectures, {rate:.0f} a minute")


def _corpus(space: LanguageModelSpace, source: dict[str, Any], group: Group) -> Corpus:
    """Read a text; the first process encodes it for all."""
    from hwnas.profiling.data.corpus import cache_folder, load_corpus

    if group.rank:
        group.wait()
    corpus = load_corpus(space, cache=cache_folder(), **source)
    if not group.rank:
        group.wait()
    return corpus


def _check_text(file: Path, corpus: Corpus, description: Description) -> None:
    """Raise InvalidInput unless the held-out documents are those of the training."""
    if corpus.sha256 != description.text_sha256:
        raise InvalidInput(
            f"{file}: the text {description.text['source']!r} has changed since the training; "
            "documents that were trained on could now be held out"
        )


def _peak(group: Group, precision: str, tflops: float | None) -> float | None:
    """Return the peak throughput of a device in operations per second, if it is known."""
    import torch

    from hwnas.profiling.peak_flops import peak_flops

    if tflops is not None:
        return tflops * 1e12
    if group.device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(group.device)
    return peak_flops(name, "bfloat16" if precision == "auto" else precision)


def _say(line: str) -> None:
    echo(line, err=True)
