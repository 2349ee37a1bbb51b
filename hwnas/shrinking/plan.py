"""Settings of a directory of smaller versions, and the model, text and space behind them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from hwnas.errors import InvalidInput, UnknownName
from hwnas.files import atomic_writer, write_text
from hwnas.profiling.data.corpus import Corpus, cache_folder, load_corpus
from hwnas.profiling.data.text import DEFAULT, STDLIB
from hwnas.profiling.data.tokenizer import Tokens, first_tokens
from hwnas.profiling.llama import Llama
from hwnas.shrinking.block_scores import calibration_sequences
from hwnas.shrinking.importance import METHODS, Importance, apply_order, order_by_importance
from hwnas.shrinking.members import space_of_members, with_equal_layers
from hwnas.shrinking.pretrained import load_pretrained
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.spaces import space as space_of

PLAN, ORDER = "plan.json", "order.npz"
_NAMES = (DEFAULT, STDLIB, "bytes", "gpt2")  # of texts and tokenizers, which are no paths


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings that decide about scores and evaluations.

    Attributes
    ----------
    model
        Directory of the model, see `hwnas.shrinking.pretrained`.
    text, separator, held_out, tokenizer, vocabulary
        Text and tokenizer, see `hwnas.profiling.data.corpus.load_corpus`. Orders, scores and
        healing see its training part, evaluations the held-out one.
    window
        Tokens of a sequence in scores, evaluations and healing; at most the model's context.
    calibration_tokens, held_out_tokens
        Number of tokens of scores, and of an evaluation.
    importance
        Method by which parts are kept, see `hwnas.shrinking.importance`.
    head_steps, mlp_steps
        See `hwnas.shrinking.members.space_of_members`.
    """

    model: str
    text: str = "pydoc"
    separator: str | None = None
    held_out: float = 0.1
    tokenizer: str = "bytes"
    vocabulary: str | None = None
    window: int = 512
    calibration_tokens: int = 131_072
    held_out_tokens: int | None = 200_000
    importance: Importance = "wanda"
    head_steps: int = 4
    mlp_steps: int = 4

    def __post_init__(self) -> None:
        if self.importance not in METHODS:
            raise UnknownName("importance", self.importance, METHODS)
        for name in ("window", "calibration_tokens", "held_out_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name}: expected at least 1, found {value}")

    def resolved(self) -> Plan:
        """Return the plan with absolute paths, the same in every working directory."""
        paths = {
            name: str(Path(value).resolve())
            for name in ("model", "text", "tokenizer", "vocabulary")
            # A text or tokenizer of the name is meant, also where a file has the same one.
            if (value := getattr(self, name)) not in (None, *_NAMES) and os.path.exists(value)
        }
        return replace(self, **paths)  # type: ignore[arg-type]  # all of them are texts

    def check(self, folder: Path) -> None:
        """Check that a directory has no plan or this one.

        Raises
        ------
        InvalidInput
            The directory has another plan.
        """
        if not (folder / PLAN).exists():
            return
        own, other = asdict(self.resolved()), asdict(read_plan(folder).resolved())
        if own != other:
            name = next(key for key in own if own[key] != other[key])
            raise InvalidInput(
                f"{folder}: holds smaller versions with {name} {other[name]!r}, found "
                f"{own[name]!r}; expected the same settings or another directory"
            )

    def write(self, folder: Path) -> None:
        """Write the plan of a new directory, or check that it is that of an existing one.

        Raises
        ------
        InvalidInput
            The directory has another plan.
        """
        self.check(folder)
        if not (file := folder / PLAN).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(asdict(self.resolved()), indent=2) + "\n")


def read_plan(folder: Path) -> Plan:
    """Read the plan of a directory.

    Raises
    ------
    InvalidInput
        There is none, or it is damaged.
    """
    file = folder / PLAN
    try:
        content = json.loads(file.read_bytes())
        names = {field.name for field in fields(Plan)}
        return Plan(**{key: value for key, value in content.items() if key in names})
    except OSError:
        raise InvalidInput(
            f"{folder}: expected a directory of hwnas shrink, found no {PLAN}"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{file}: expected settings of hwnas shrink: {error}") from None


class Workbench:
    """Model, text and space of a directory of smaller versions, each loaded when it is needed.

    Parameters
    ----------
    folder
        The directory.
    device
        Device of the model.
    plan
        Its settings; those of the directory's file if there are none.

    Attributes
    ----------
    plan
        Its settings.
    """

    def __init__(self, folder: Path, device: torch.device, plan: Plan | None = None) -> None:
        self.folder, self.device = folder, device
        self.plan = read_plan(folder) if plan is None else plan
        self._model: Llama | None = None

    @cached_property
    def shape(self) -> Llama:
        """The model without weights, its layers equal."""
        return with_equal_layers(load_pretrained(self.plan.model, device="meta"))

    @cached_property
    def space(self) -> ShrunkLlamaSpace:
        """Space of the smaller versions."""
        plan = self.plan
        return space_of_members(self.shape, head_steps=plan.head_steps, mlp_steps=plan.mlp_steps)

    @property
    def window(self) -> int:
        """Tokens of a sequence."""
        return min(self.plan.window, self.space.context)

    @cached_property
    def corpus(self) -> Corpus:
        """Text, encoded."""
        plan = self.plan
        short = space_of({**self.space.to_dict(), "context": self.window})
        assert isinstance(short, ShrunkLlamaSpace)
        corpus = load_corpus(
            short,
            plan.text,
            separator=plan.separator,
            held_out=plan.held_out,
            tokenizer_name=plan.tokenizer,
            vocabulary=plan.vocabulary,
            cache=cache_folder(),
        )
        return replace(corpus, held_out=first_tokens(corpus.held_out, plan.held_out_tokens))

    @property
    def held_out(self) -> Tokens:
        """Tokens of evaluations."""
        return self.corpus.held_out

    @cached_property
    def calibration(self) -> Tensor:
        """Sequences (N, T + 1) of orders and scores."""
        count = max(1, self.plan.calibration_tokens // self.window)
        return calibration_sequences(self.corpus.train, count, self.window)

    @property
    def model(self) -> Llama:
        """The model, its layers equal and its parts ordered by importance."""
        if self._model is None:
            model = with_equal_layers(load_pretrained(self.plan.model, device=self.device))
            file = self.folder / ORDER
            if file.exists():
                apply_order(model, _read_orders(file))
            else:
                orders = order_by_importance(model, self.calibration, self.plan.importance)
                plain: dict[str, Any] = {
                    name: order.cpu().numpy() for name, order in orders.items()
                }
                with atomic_writer(file) as stream:
                    np.savez_compressed(stream, allow_pickle=False, **plain)
            self._model = model
        return self._model

    def release(self) -> None:
        """Release the model; it is loaded again when it is needed."""
        self._model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _read_orders(file: Path) -> dict[str, Tensor]:
    """Read the orders of heads and neurons.

    Raises
    ------
    InvalidInput
        The file is damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InvalidInput(
            f"{file}: expected the order of heads and neurons: {error}; remove it together with "
            "scores.csv and evaluations.csv, and they are computed again"
        ) from None


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: ``"auto"`` is CUDA where it is available.

    Raises
    ------
    InvalidInput
        There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device: expected auto, cpu, cuda or cuda:1, found {name!r}") from None
    if device.type not in ("cpu", "cuda") or (
        device.type == "cuda" and not torch.cuda.is_available()
    ):
        raise InvalidInput(f"device: expected one that torch finds here, found {name!r}")
    return device
