"""Command that writes a network for use elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.console import echo
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.profiling.export.model_card import Origin
    from hwnas.profiling.language_model import LanguageModel
    from hwnas.profiling.supernet.supernet_file import Description
    from hwnas.reports.front_picks import FrontMember
    from hwnas.runner.results import Result


class ModelFormat(StrEnum):
    """Formats of a network."""

    safetensors = "safetensors"
    transformers = "transformers"
    onnx = "onnx"
    gguf = "gguf"


class DataType(StrEnum):
    """Data types of weights."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


def build(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="Architecture, such as gpt-s-12-768-..., or directory of a run."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory to create.")],
    format_: Annotated[
        ModelFormat, typer.Option("--format", help="Format of the network.")
    ] = ModelFormat.safetensors,
    pick: Annotated[
        str | None,
        typer.Option(
            help="Of a run: a member of its front: knee, fastest, best, or the best within a "
            "bound, such as 'tpot.serve@cuda <= 2'."
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="As for profile [the space that the architecture's name begins with]."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the initial weights.", min=0, max=2**63 - 1)
    ] = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of a training, to use its weights [of a run, its own]."),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Weights of a supernet, of which the model takes its part."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="bytes, gpt2, hf:NAME, or a file: tokenizer.json, gpt2.tiktoken [of a run, its "
            "own]."
        ),
    ] = None,
    dtype: Annotated[
        DataType | None, typer.Option(help="Data type of the weights [float32; of gguf float16].")
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the model card.")
    ] = "unknown",
) -> None:
    """Write a network for use elsewhere: for hwnas, transformers, ONNX or llama.cpp.

    The directory has a model card, README.md. With the directory of a run and --pick, the network
    is a member of the run's front, with the weights of its checkpoint if the run kept it.

    Examples:

    hwnas build runs/story --pick knee --out model

    hwnas build runs/story --pick fastest --format gguf --out model-gguf
    """
    from hwnas.profiling.export.directory import check_new, export_model
    from hwnas.spaces import load_space, require_language_model
    from hwnas.spaces.architecture import split_string

    check_new(out)
    result = member = None
    if Path(target).is_dir():
        if space is not None:
            raise InvalidInput("build: a run has a space; expected no --space with it")
        result, member = _pick(Path(target), pick)
        members, arch = require_language_model(result.space), str(member.arch)
        checkpoint = checkpoint or (None if from_ else _checkpoint_of(result, member))
        tokenizer = tokenizer or _tokenizer_of(result)
    elif pick is not None or os.sep in target or Path(target).is_file():
        wanted = "" if pick is not None else "an architecture or "
        raise InvalidInput(f"{target}: no trials here, expected {wanted}the directory of a run")
    else:
        arch = target
        if from_ is None:
            name, *_ = split_string(arch, "expected SPACE-LAYERS-WIDTH-...-True|False")
            members = require_language_model(load_space(space or name))
    if from_ is not None and (space is not None or checkpoint is not None):
        raise InvalidInput("build: --from has a space and weights; expected no other ones")

    import torch

    from hwnas.profiling.export.tokenizer_files import tokenizer_named
    from hwnas.profiling.language_model import build_model

    training = "The weights are random."
    model: LanguageModel
    if from_ is not None:
        from hwnas.profiling.supernet.supernet_file import read_supernet

        shared, description = read_supernet(from_)
        model = shared.subnetwork(shared.space.parse(arch), copy=True)
        training = _supernet_training(description, model.context)
    else:
        model = build_model(members, members.parse(arch), seed=seed)
        if checkpoint is not None:
            training = _load_checkpoint(model, checkpoint)
    encoder = None if tokenizer is None else tokenizer_named(tokenizer)
    default = DataType.float16 if format_ is ModelFormat.gguf else DataType.float32
    model.to(getattr(torch, (dtype or default).value))
    origin = _origin(result, member, pick or "", out, training, license_)
    files = export_model(model, out, format_.value, encoder=encoder, origin=origin)
    echo(f"{out}: {', '.join(files)} ({model.params:,} parameters)")
    if result is not None and checkpoint is None and from_ is None:
        echo(
            "hwnas: the weights are random: the run kept no checkpoint of this network (a backend "
            "profile with keep_checkpoints: true does)",
            err=True,
        )


def _pick(folder: Path, name: str | None) -> tuple[Result, FrontMember]:
    """Return the results of a run and a member of its front."""
    from hwnas.reports.front_picks import PICKS, pick
    from hwnas.runner.results import Result

    result = Result(folder)
    if name is None:
        raise InvalidInput(
            f"{folder}: expected --pick with a directory: {', '.join(PICKS)} or a bound, such as "
            "'latency@cpu <= 5'"
        )
    return result, pick(result, name)


def _checkpoint_of(result: Result, member: FrontMember) -> Path | None:
    """Return the newest checkpoint of a member that its search kept, else that of another one."""
    name = hashlib.sha256(str(member.arch).encode()).hexdigest()[:16]
    for folder in (member.search.path, result.path):
        files = [*folder.rglob(f"checkpoints/{name}-*.pt")]
        if files:
            return max(files, key=lambda file: file.stat().st_mtime)
    return None


def _tokenizer_of(result: Result) -> str | None:
    """Return the tokenizer of a run that trains networks."""
    backend = result.experiment.backend
    if backend.type != "profile":
        return None
    name = str(backend.settings.get("tokenizer", "bytes"))
    vocabulary = backend.settings.get("vocabulary")
    return str(vocabulary) if name == "gpt2" and vocabulary else name


def _load_checkpoint(model: LanguageModel, file: Path) -> str:
    """Load the weights of a checkpoint; return a sentence on its training."""
    from hwnas.profiling.training.checkpoint import read_weights

    trained = read_weights(file, model)
    model.load_state_dict(trained.weights)
    progress = _progress(trained.step, trained.steps, trained.tokens)
    return f"The weights are those of the checkpoint `{file.name}`, after {progress}."


def _supernet_training(description: Description, context: int) -> str:
    """Return sentences on the training of a supernet."""
    training = description.settings["training"]
    tokens = description.step * int(training["batch_size"]) * context
    return (
        "The weights are those of a supernet, of which the network is a part, after "
        f"{_progress(description.step, int(training['steps']), tokens)} of its training on "
        f"`{_source_name(description.text)}`."
    )


def _progress(step: int, steps: int, tokens: int) -> str:
    """Return how far a training has come.

    >>> _progress(100, 300, 51200)
    '100 of 300 steps (51,200 tokens)'
    """
    reached = f"{step:,}" if step == steps else f"{step:,} of {steps:,}"
    return f"{reached} steps ({tokens:,} tokens)"


def _source_name(text: Mapping[str, Any]) -> str:
    """Return the name of a text without a path of this machine."""
    source = str(text.get("source", "pydoc"))
    return Path(source).name if Path(source).is_absolute() else source


def _origin(
    result: Result | None,
    member: FrontMember | None,
    pick: str,
    out: Path,
    training: str,
    license_: str,
) -> Origin:
    """Return what the model card tells of search and training."""
    from hwnas.profiling.export.model_card import Origin

    if result is None or member is None:
        return Origin(training=training, license=license_)
    experiment, search = result.experiment, member.search
    link = Path(os.path.relpath(result.path / "experiment.yaml", out)).as_posix()
    objectives = ", ".join(f"`{objective}`" for objective in result.objectives)
    sentences = [
        f"Found by `{search.optimizer}` with seed {search.seed} in the space "
        f"`{result.space.name}`, in the run `{experiment.name}` ([experiment]({link})).",
        f"Number {member.place} of {member.n_members} on the front of {objectives}, chosen by "
        f"`--pick {pick}`.",
    ]
    settings: dict[str, Any] = experiment.backend.settings
    if experiment.backend.type == "profile" and "checkpoint" in training:
        source = _source_name({"source": settings.get("text", "pydoc")})
        details = ", ".join(f"{k} {v}" for k, v in (settings.get("training") or {}).items())
        training += f" They were trained on `{source}`" + (f" ({details})." if details else ".")
    metrics = []
    for objective, value in zip(result.objectives, member.values.tolist(), strict=True):
        name = str(objective.value)
        known = result.metrics.get(name)
        unit, meaning = (known.unit, known.meaning) if known else ("", "")
        metrics.append((name, value, unit, meaning))
    return Origin(sentences, training, metrics, license_)
