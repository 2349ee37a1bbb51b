"""Members of a front for use: chosen by time, healed, exported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.errors import InvalidInput
from hwnas.files import locked, write_text
from hwnas.profiling.export.directory import FORMATS, export_model
from hwnas.profiling.export.model_card import Origin
from hwnas.profiling.export.safetensors import load_model
from hwnas.profiling.export.tokenizer_files import tokenizer_named
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.perplexity import perplexity
from hwnas.shrinking.healing import heal, healing_settings
from hwnas.shrinking.importance import precision_of
from hwnas.shrinking.plan import Workbench
from hwnas.shrinking.sliced_model import ShrunkLlama, dense_member
from hwnas.shrinking.workflow import ShrinkResult
from hwnas.spaces import LlamaArchitecture

MEMBER = "member.json"
_VALUES = ("share", "perplexity", "healed", "of_model")
_BATCH_TOKENS = 8192
_HEALING_BATCH = 16_384  # tokens of a step, at most a fiftieth of the budget
_MIN_STEPS = 50


@dataclass(frozen=True)
class Member:
    """Member that was exported.

    Attributes
    ----------
    arch
        Its architecture, with an entry for each layer of the model.
    folder
        Directory with a directory for each format.
    share
        Its predicted time as a share of that of the model.
    perplexity, healed, of_model
        Perplexity before and after healing, if it was healed, and that of the model.
    """

    arch: LlamaArchitecture
    folder: Path
    share: float
    perplexity: float
    healed: float | None
    of_model: float


def member_within(result: ShrinkResult, share: float) -> int:
    """Return the index of the evaluated member that loses least within a share of the time.

    Raises
    ------
    InvalidInput
        No evaluated member is as fast.
    """
    search = result.search
    times = search.times / search.times[0]
    fitting = np.flatnonzero(times <= share + 1e-9)
    if len(fitting) == 0:
        raise InvalidInput(
            f"at: no evaluated member takes at most {share:.0%} of the time; the fastest takes "
            f"{times.min():.0%}"
        )
    return int(fitting[np.argmin(search.added[fitting])])


def export_member(
    result: ShrinkResult,
    share: float,
    *,
    tokens: int = 0,
    formats: Sequence[str] = ("safetensors",),
    learning_rate: float = 5e-4,
    max_seconds: float = math.inf,
    say: Callable[[str], None] = lambda line: None,
) -> Member:
    """Heal and export the member that loses least within a share of the model's time.

    Formats that an earlier call has written are kept, and others are made from its weights.

    Parameters
    ----------
    result
        Result of `hwnas.shrinking.workflow.shrink`.
    share
        Share of the time.
    tokens
        Number of tokens of the distillation; 0 for none.
    formats
        Formats of `hwnas.profiling.export.directory`.
    learning_rate, max_seconds
        See `hwnas.shrinking.healing`.
    say
        Called with lines of progress.

    Raises
    ------
    InvalidInput
        No evaluated member is as fast, or its directory holds something else.
    """
    bench, search = result.backend.bench, result.search
    i = member_within(result, share)
    arch = bench.space.decode(search.codes[i : i + 1])[0]
    folder = bench.folder / "members" / f"{share:g}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        former = _read_member(folder, arch, tokens)
        missing = [name for name in formats if not (folder / name).exists()]
        if former is not None and not missing:
            return former
        if former is None and (kept := [name for name in FORMATS if (folder / name).exists()]):
            raise InvalidInput(f"{folder / kept[0]}: is there already; choose another directory")
        exact = folder / "safetensors"
        if former is not None and exact.exists():
            dense, member = load_model(exact), former
        else:
            dense = dense_member(bench.model, arch)
            unhealed, healed = quality(bench, dense), None
            if tokens:
                dense = _float32(dense)  # for the optimizer's steps
                say(f"healing {dense.arch.n_layer} layers with {tokens:,} tokens")
                limits = {"learning_rate": learning_rate, "max_seconds": max_seconds}
                heal_member(bench, dense, tokens, **limits, say=say)
                healed = quality(bench, dense)
            time_share = float(search.times[i] / search.times[0])
            member = Member(arch, folder, time_share, unhealed, healed, quality(bench, bench.model))
            _write_member(member, tokens)
        origin = _origin(member, result, share, tokens)
        encoder = tokenizer_named(bench.plan.tokenizer, vocabulary=bench.plan.vocabulary)
        dense = dense.to("cpu")
        # GGUF comes last: its float16 has lost what the others keep.
        for name in sorted(missing, key=lambda name: name == "gguf"):
            dtype = torch.float16 if name == "gguf" else torch.float32
            export_model(dense.to(dtype), folder / name, name, encoder=encoder, origin=origin)
    return member


def _origin(member: Member, result: ShrinkResult, share: float, tokens: int) -> Origin:
    """Return what the card of a member says about where it comes from."""
    search, space = result.search, result.backend.bench.space
    sentences = [
        f"One of the smaller versions of `{space.name}`: the one that loses least of "
        f"{len(search.codes)} evaluated within {share:.0%} of its {result.objective}."
    ]
    healing = f" and {tokens:,} tokens of distillation from it" if tokens else ""
    training = f"The weights are those that the model has in these parts{healing}."
    value = member.perplexity if member.healed is None else member.healed
    return Origin(sentences, training, [("perplexity", value, "", "held-out documents")])


def _write_member(member: Member, tokens: int) -> None:
    """Write what is known of a member, before its first export."""
    content = {"arch": str(member.arch), "tokens": tokens}
    content |= {name: getattr(member, name) for name in _VALUES}
    write_text(member.folder / MEMBER, json.dumps(content, indent=2) + "\n")


def _read_member(folder: Path, arch: LlamaArchitecture, tokens: int) -> Member | None:
    """Return the member whose export an earlier call began, if any.

    Raises
    ------
    InvalidInput
        It is another one, or its file is damaged.
    """
    file = folder / MEMBER
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_bytes())
        found, former_tokens = content["arch"], content["tokens"]
        values = {name: content[name] for name in _VALUES}
    except (OSError, ValueError, TypeError, KeyError):
        raise InvalidInput(f"{file}: expected a member of hwnas shrink; remove {folder}") from None
    if (found, former_tokens) != (str(arch), tokens):
        raise InvalidInput(
            f"{folder}: holds {found}, healed with {former_tokens} tokens, expected {arch} with "
            f"{tokens}; move it away, or choose another directory"
        )
    return Member(arch, folder, **values)


def heal_member(
    bench: Workbench,
    member: ShrunkLlama,
    tokens: int,
    *,
    learning_rate: float = 5e-4,
    max_seconds: float = math.inf,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Distill a member from its model within a number of tokens, in place."""
    batch_tokens = min(_HEALING_BATCH, tokens // _MIN_STEPS)
    settings = healing_settings(
        tokens,
        bench.window,
        batch_size=max(1, batch_tokens // bench.window),
        learning_rate=learning_rate,
    )
    heal(
        member,
        bench.model,
        bench.corpus.train,
        settings,
        window=bench.window,
        max_seconds=max_seconds,
        report=lambda step, loss: say(f"healed {step} of {settings.steps} steps: loss {loss:.3f}"),
    )


def quality(bench: Workbench, model: LanguageModel) -> float:
    """Return the perplexity of a model on the held-out documents of a workbench."""
    former, model.context = model.context, bench.window
    try:
        size = max(1, _BATCH_TOKENS // bench.window)
        precision = precision_of(model)  # type: ignore[arg-type]
        return perplexity(model, bench.held_out, batch_size=size, precision=precision).value
    finally:
        model.context = former


def _float32(member: ShrunkLlama) -> ShrunkLlama:
    """Cast the weights of a member in place."""
    for parameter in member.parameters():
        parameter.data = parameter.data.float()
    return member
