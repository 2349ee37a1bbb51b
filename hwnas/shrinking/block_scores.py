"""Loss that each alternative of a layer adds alone, on calibration text.

For each layer, the layers before it run once for a batch; each alternative then replaces the layer
and the layers after it run on. All losses are of the same tokens, so that their differences are far
more precise than they. A layer's rows are written when all of its alternatives are known; a killed
process continues with the next layer.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import release_memory
from hwnas.profiling.llama import Llama
from hwnas.profiling.survey.csv_log import CsvLog, open_log
from hwnas.profiling.training.config import autocast
from hwnas.shrinking.importance import precision_of
from hwnas.shrinking.sliced_model import SlicedBlock
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.typing import Array

COLUMNS = ("layer", "mlp_dim", "n_head", "loss")
FULL_MODEL = -1  # the layer of the row of the whole model
_BATCH_TOKENS = 8192
_LOGITS = 2**22  # numbers that are computed at once

Report = Callable[[int, int], None]  # number of layers with scores, and of all


def calibration_sequences(tokens: Tokens, count: int, length: int, seed: int = 0) -> Tensor:
    """Return random sequences of a text, for orders and scores.

    Parameters
    ----------
    tokens
        Tokens of the text that a model may be fitted to; not held-out ones.
    count, length
        Number of sequences, and of tokens that are predicted in each.

    Returns
    -------
    (count, length + 1) int64

    Raises
    ------
    InvalidInput
        The text has too few tokens.
    """
    if len(tokens) <= length:
        raise InvalidInput(f"text: expected more than {length} tokens, found {len(tokens)}")
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(tokens) - length, size=count)
    rows = np.stack([tokens.ids[start : start + length + 1] for start in starts])
    return torch.from_numpy(rows.astype(np.int64))


def score_blocks(
    model: Llama,
    space: ShrunkLlamaSpace,
    tokens: Tensor,
    file: Path,
    *,
    batch_tokens: int = _BATCH_TOKENS,
    report: Report = lambda count, total: None,
) -> Array:
    """Return the loss that each alternative of each layer adds alone; continue a file of scores.

    Parameters
    ----------
    model
        Model whose units are ordered by importance.
    space
        Its smaller versions.
    tokens
        (N, T + 1) integers, calibration sequences.
    file
        CSV file with the columns `COLUMNS`, created or continued.
    batch_tokens
        Number of tokens that pass together; it determines the memory, not the result.
    report
        Called after each layer.

    Returns
    -------
    (L, R, H) float64
        In nats per token, by layer and by indices of ``mlp_dim`` and ``n_head``; 0 for a whole
        layer. The loss of the whole model is that of `whole_loss`.

    Raises
    ------
    InvalidInput
        The file has scores of another model, text or space.
    """
    settings = {"model": fingerprint(model), "text": _hash(tokens), "space": space.to_dict()}
    log = open_log(file, settings, COLUMNS)
    options = list(itertools.product(space.mlp_dim, space.n_head))
    complete = _complete_layers(log, len(options))
    full_option = (space.mlp_dim[-1], space.n_head[-1])
    n_layers = len(space.layer_columns)
    for layer in range(FULL_MODEL, n_layers):
        if layer not in complete:
            tried = (
                [full_option] if layer == FULL_MODEL else [o for o in options if o != full_option]
            )
            with release_memory(model.device, f"scoring layer {layer} of {model.arch}"):
                losses = _losses(model, space, max(layer, 0), tried, tokens, batch_tokens)
            for (hidden, heads), loss in zip(tried, losses, strict=True):
                row = {"layer": layer, "mlp_dim": hidden, "n_head": heads, "loss": repr(loss)}
                log.append(row)
            report(layer + 1, n_layers)
    return _added(log, space)


def whole_loss(file: Path) -> float:
    """Return the loss of the whole model on the calibration text, of a file of scores."""
    rows = CsvLog(file, COLUMNS).rows
    return next(float(row["loss"]) for row in rows if row["layer"] == str(FULL_MODEL))


def fingerprint(model: Llama) -> str:
    """Return a hash of a model's sizes and of samples of its weights."""
    digest = hashlib.sha256(str(model.arch).encode())
    for name, parameter in model.named_parameters():
        values = parameter.detach().flatten()
        sample = values[:: max(1, len(values) // 64)][:64].float().cpu().numpy()
        digest.update(name.encode() + np.ascontiguousarray(sample).tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _losses(
    model: Llama,
    space: ShrunkLlamaSpace,
    layer: int,
    options: list[tuple[int, int]],
    tokens: Tensor,
    batch_tokens: int,
) -> list[float]:
    """Return the mean loss with each alternative of one layer."""
    length = tokens.shape[1] - 1
    cos, sin = model.cos[:length], model.sin[:length]
    first_blocks, last_blocks = model.blocks[:layer], model.blocks[layer + 1 :]
    alternatives = [
        SlicedBlock(model.blocks[layer], hidden, heads // space.group)  # type: ignore[arg-type]
        for hidden, heads in options
    ]
    sums = torch.zeros(len(options), dtype=torch.float64, device=model.device)
    for rows in torch.split(tokens, max(1, batch_tokens // length)):
        batch = rows.to(model.device)  # (B, T + 1)
        with autocast(model.device, precision_of(model)):
            x = model.embed(batch[:, :-1])
            for block in first_blocks:
                x = block(x, cos, sin)
            for k, alternative in enumerate(alternatives):
                y = alternative(x, cos, sin)
                for block in last_blocks:
                    y = block(y, cos, sin)
                sums[k] += _total_loss(model, y, batch[:, 1:])
    losses: list[float] = (sums / (len(tokens) * length)).tolist()
    return losses


def _total_loss(model: Llama, x: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the losses of a batch, whose logits are computed in chunks."""
    rows, labels = model.norm(x).flatten(0, 1), targets.flatten()
    chunk = max(256, _LOGITS // model.vocab_size)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part, wanted in zip(torch.split(rows, chunk), torch.split(labels, chunk), strict=True):
        logits = F.linear(part, model.output_weight).float()  # (n, V)
        total += F.cross_entropy(logits, wanted, reduction="sum")
    return total


def _complete_layers(log: CsvLog, n_options: int) -> set[int]:
    """Return the layers that have all of their rows."""
    counts: dict[int, int] = {}
    for row in log.rows:
        counts[int(row["layer"])] = counts.get(int(row["layer"]), 0) + 1
    return {
        layer
        for layer, count in counts.items()
        if count >= (1 if layer == FULL_MODEL else n_options - 1)
    }


def _added(log: CsvLog, space: ShrunkLlamaSpace) -> Array:
    """Return the added losses (L, R, H) of a complete file; a later row replaces an earlier one."""
    added = np.zeros((len(space.layer_columns), len(space.mlp_dim), len(space.n_head)))
    full_loss = next(float(row["loss"]) for row in log.rows if row["layer"] == str(FULL_MODEL))
    for row in log.rows:
        if (layer := int(row["layer"])) != FULL_MODEL:
            option = (
                space.mlp_dim.index(int(row["mlp_dim"])),
                space.n_head.index(int(row["n_head"])),
            )
            added[(layer, *option)] = float(row["loss"]) - full_loss
    return added


def _hash(tokens: Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(tokens.numpy()).tobytes()).hexdigest()[:16]
