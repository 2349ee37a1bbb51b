"""Checkpoints of supernets: weights and the state of AdamW, without pickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.supernet_file import check_tensors, read_tensors, write_tensors
from hwnas.profiling.training.checkpoint import fingerprint

_MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW
_STATES = ("weights", *_MOMENTS)


def supernet_identity(
    shared: SharedWeights, tokens: Tokens, settings: SupernetSettings
) -> dict[str, Any]:
    """Return everything that determines a training, except for the initial weights."""
    content = settings.to_dict()
    del content["training"]["compile"]
    space = shared.space.to_dict()
    return {"space": space, "settings": content, "tokens": fingerprint(tokens)}


def states(shared: SharedWeights, optimizer: torch.optim.AdamW) -> list[dict[str, Tensor]]:
    """Return the weights, and the moments of their optimizer if there are any, by name.

    Parameters
    ----------
    optimizer
        Its parameters share the memory of the weights.
    """
    states = [shared.weights]
    parameters = _parameters(shared, optimizer)
    for key in _MOMENTS:
        moments = {name: optimizer.state[p].get(key) for name, p in parameters.items()}
        if all(moment is not None for moment in moments.values()):
            states.append(moments)
    return states


def write_checkpoint(
    file: Path, shared: SharedWeights, optimizer: torch.optim.AdamW, content: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    content
        Identity and progress of the training.
    """
    tensors = {
        f"{prefix}.{name}": tensor
        for prefix, state in zip(_STATES, states(shared, optimizer), strict=True)
        for name, tensor in state.items()
    }
    write_tensors(file, tensors, content)


def read_checkpoint(
    file: Path,
    shared: SharedWeights,
    optimizer: torch.optim.AdamW,
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Restore weights and optimizer from a checkpoint; return its content.

    Raises
    ------
    InvalidInput
        The file is no checkpoint, or that of another training.
    """
    tensors, content = read_tensors(file, shared.device)
    stored_identity = content.get("identity") or {}
    for key, value in identity.items():
        if stored_identity.get(key) != value:
            raise InvalidInput(
                f"{file}: a checkpoint of another training: expected {key} {value}, found "
                f"{stored_identity.get(key)}; choose another with --out, or remove it"
            )
    loaded = {
        prefix: {name: tensors.get(f"{prefix}.{name}", torch.empty(0)) for name in shared.weights}
        for prefix in _STATES
    }
    for state in loaded.values():
        check_tensors(file, state, shared.weights)
    with torch.no_grad():
        for name, weight in shared.weights.items():
            weight.copy_(loaded["weights"][name])
    for name, parameter in _parameters(shared, optimizer).items():
        # On CUDA the optimizer is fused and counts its steps on the device.
        counter = torch.tensor(float(content["step"]), device=shared.device)
        moments = {key: loaded[key][name] for key in _MOMENTS}
        optimizer.state[parameter] = {"step": counter, **moments}
    return content


def _parameters(shared: SharedWeights, optimizer: torch.optim.AdamW) -> dict[str, nn.Parameter]:
    """Return the parameters of an optimizer by the names of the weights whose memory they share."""
    parameters = {p.data_ptr(): p for group in optimizer.param_groups for p in group["params"]}
    return {name: parameters[weight.data_ptr()] for name, weight in shared.weights.items()}
