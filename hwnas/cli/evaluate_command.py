"""The command `evaluate`: the quality of an exported directory on a text and on tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import print_figures
from hwnas.cli.query_commands import Format
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.profiling.data.tokenizer_interface import Tokenizer
    from hwnas.profiling.export.load import ExportedModel

_HEADER = ["source", "metric", "value", "std", "count"]


def evaluate(
    directory: Annotated[Path, typer.Argument(help="Directory that hwnas build wrote.")],
    text: Annotated[
        str | None,
        typer.Option(help="Text for the perplexity: a file, a folder, pydoc, stdlib or hf:NAME."),
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Text between two documents [<|endoftext|>].")
    ] = None,
    held_out: Annotated[
        float | None,
        typer.Option(
            help="Share of the text that a training held out; only that is evaluated [all of it]."
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of the text to evaluate, the first ones [all].", min=1),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="As for build [that of the directory]."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK",
            help="Task of lm-eval: a file TASK.yaml or a name; can be repeated.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Documents of each task, the first ones [all].", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.table,
) -> None:
    """Evaluate a network that hwnas build wrote: its perplexity, and tasks of lm-eval.

    It is loaded by the library of its format: transformers, onnxruntime or llama-cpp-python. The
    perplexity is computed as that of trainings is. Tasks take the formats transformers and
    safetensors.

    Examples:

    hwnas evaluate story --text pydoc --held-out 0.1

    hwnas evaluate story --tasks questions.yaml --format json
    """
    if text is None and not tasks:
        raise InvalidInput("evaluate: expected --text or --tasks")
    if text is None and (separator, held_out, tokens) != (None, None, None):
        raise InvalidInput("--separator, --held-out and --tokens: expected --text with them")
    if limit is not None and not tasks:
        raise InvalidInput("--limit: expected --tasks with it")

    from hwnas.profiling.device_profiler import resolve_device
    from hwnas.profiling.export.load import load_exported
    from hwnas.profiling.export.tokenizer_files import check_vocabulary, tokenizer_named

    model = load_exported(directory, device=resolve_device(device)[1])
    if tokenizer is not None:
        model = replace(model, tokenizer=tokenizer_named(tokenizer))
    if model.tokenizer is None:
        raise InvalidInput(
            f"{directory}: has no tokenizer; expected --tokenizer, the one it was trained with"
        )
    check_vocabulary(model.tokenizer, model.vocab_size)
    rows: list[list[Any]] = []
    if text is not None:
        rows += _perplexity_rows(model, model.tokenizer, text, separator, held_out, tokens)
    if tasks:
        from hwnas.profiling.export.harness import run_tasks

        for score in run_tasks(model, tasks, limit=limit):
            std = "" if score.std is None else score.std
            rows.append([score.task, score.metric, score.value, std, score.count])
    print_figures(_HEADER, rows, format_.value)


def _perplexity_rows(
    model: ExportedModel,
    encoder: Tokenizer,
    source: str,
    separator: str | None,
    held_out: float | None,
    count: int | None,
) -> list[list[Any]]:
    """Return the rows of the perplexity of a text; their count is that of its tokens."""
    from hwnas.profiling.data.text import text
    from hwnas.profiling.data.tokenizer import first_tokens, tokens
    from hwnas.profiling.meters.perplexity import evaluation_batch, perplexity

    content = text(source, separator=separator)
    documents = content.documents if held_out is None else content.split(held_out=held_out).held_out
    encoded = first_tokens(tokens(documents, encoder), count)
    result = perplexity(model, encoded, batch_size=evaluation_batch(model.context))
    # A text of one document has no standard error.
    std = result.std if result.std == result.std else ""
    return [
        [source, "perplexity", result.value, std, result.n_tokens],
        [source, "bits_per_byte", result.bits_per_byte, "", result.n_tokens],
    ]
