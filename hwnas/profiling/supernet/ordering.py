"""Order of heads and neurons by importance, which leaves the largest network's outputs as they are.

Smaller networks have the first heads and neurons, so these should be the most important ones, as in
DynaBERT (Hou et al. 2020, arXiv:2004.04037).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.supernet.slicing import Shape


@dataclass(frozen=True, slots=True)
class Units:
    """Heads or neurons of one layer.

    Attributes
    ----------
    branch
        Prefix of the names of their parameters: ``"blocks.0.mlp"``.
    source
        Linear layer whose rows they are, with equally many of each part.
    count
        Number of units. Queries that share keys and values are one.
    """

    branch: str
    source: str
    count: int


def units_of(model: LanguageModel, shapes: Mapping[str, Shape]) -> Iterator[Units]:
    """Yield the units of all layers of the largest network.

    Branches whose rows in the shared weights are not those of the network have no order that
    leaves its outputs as they are, and are left out.
    """
    for i, heads in enumerate(model.kv_heads):
        attention = Units(f"blocks.{i}.attention", "qkv", heads)
        hidden = shapes.get(f"blocks.{i}.mlp.proj.weight")
        mlp = Units(f"blocks.{i}.mlp", "fc", hidden.rest[0] if hidden else 0)
        for units in (attention, mlp):
            full_shape = shapes.get(f"{units.branch}.{units.source}.weight")
            if full_shape is None or not units.count:
                continue
            own = dict(model.named_parameters()).get(f"{units.branch}.{units.source}.weight")
            if own is not None and tuple(own.shape) == full_shape.lengths:
                yield units


def importance(model: LanguageModel, units: Units) -> Tensor:
    """Return the importance (count,) of units in the batch of the last backward pass.

    It is the size of the derivative of the loss with respect to a factor of the unit's output, 1
    before (Michel et al. 2019, arXiv:1905.10650, section 2.3).
    """
    weight = model.get_parameter(f"{units.branch}.proj.weight")
    assert weight.grad is not None
    products = weight.detach() * weight.grad  # (C, width of all units)
    return products.view(len(weight), units.count, -1).sum(dim=(0, 2)).abs()


@torch.no_grad()
def reorder(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], units: Units, order: Tensor
) -> None:
    """Order units in tensors with the names and shapes of shared weights, in place.

    Parameters
    ----------
    order
        (count,) integers, a permutation: number i becomes the unit ``order[i]``.
    """
    for kind in ("weight", "bias"):
        name = f"{units.branch}.{units.source}.{kind}"
        if name in tensors:
            tensors[name].copy_(_permuted(tensors[name], shapes[name].rows, order))
    name = f"{units.branch}.proj.weight"
    columns = tensors[name].T
    tensors[name].copy_(_permuted(columns, (len(columns),), order).T)


def _permuted(tensor: Tensor, parts: Sequence[int], order: Tensor) -> Tensor:
    """Return rows in the order of their units; each part has equally many rows of each unit."""
    return torch.cat(
        [
            rows.reshape(len(order), -1, *rows.shape[1:])[order].flatten(0, 1)
            for rows in torch.split(tensor, list(parts))
        ]
    )
