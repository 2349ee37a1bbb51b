"""Order of heads and neurons of a trained model by importance on calibration text.

Methods, each a score for every head (with the queries that share it) and every neuron:

``activation``
    Size of what the unit computes: the norm of its output over all tokens. Minitron (Muralidharan
    et al. 2024, arXiv:2407.14679, section 2.2).
``wanda``
    Size of what it adds to the residual stream: that norm times the size of the weights that read
    it. Wanda (Sun et al. 2023, arXiv:2306.11695, equation 1), summed over the weights of a unit.
``taylor``
    Size of the loss's derivative with respect to a factor of its output, mean over sequences
    (Michel et al. 2019, arXiv:1905.10650, section 2.3; Molchanov et al. 2019, arXiv:1906.10771).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hwnas.errors import UnknownName
from hwnas.profiling.language_model import cross_entropy
from hwnas.profiling.llama import Llama
from hwnas.profiling.supernet.ordering import Units, reorder, units_of
from hwnas.profiling.supernet.slicing import shapes_of
from hwnas.profiling.training.config import autocast

Importance = Literal["activation", "wanda", "taylor"]
METHODS: tuple[Importance, ...] = get_args(Importance)


def importances(model: Llama, tokens: Tensor, method: Importance = "wanda") -> dict[str, Tensor]:
    """Return the importance of the units of each branch, by its name: ``"blocks.0.mlp"``.

    Parameters
    ----------
    model
        Trained model.
    tokens
        (N, T + 1) integers, calibration sequences. They pass one by one, so that memory is that of
        one.
    method
        One of `METHODS`.

    Returns
    -------
    dict of str to (units,) float32

    Raises
    ------
    UnknownName
        There is no such method.

    Examples
    --------
    >>> from hwnas.spaces import LlamaArchitecture
    >>> arch = LlamaArchitecture.parse("mine-1-32-64-2-1-True")
    >>> model = Llama(arch, head_size=16, context=64, vocab_size=50)
    >>> scores = importances(model, torch.zeros(2, 9, dtype=torch.long))
    >>> {name: len(score) for name, score in scores.items()}
    {'blocks.0.attention': 1, 'blocks.0.mlp': 64}
    """
    if method not in METHODS:
        raise UnknownName("importance", method, METHODS)
    branches = list(units_of(model, shapes_of(model)))
    totals = {u.branch: torch.zeros(u.count, device=model.device) for u in branches}
    needs_gradient = method == "taylor"
    for sequence in tokens.to(model.device):
        with _recorded(model, branches, needs_gradient=needs_gradient) as outputs:
            x, targets = sequence[None, :-1], sequence[None, 1:]
            with (
                autocast(model.device, precision_of(model)),
                torch.set_grad_enabled(needs_gradient),
            ):
                features = model.features(x)
                if needs_gradient:
                    loss = cross_entropy(features, model.output_weight, targets)
                    gradients = torch.autograd.grad(loss, list(outputs.values()))
        for k, units in enumerate(branches):
            output = outputs[units.branch].detach()  # (1, T, width of all units)
            per_unit = output.float().view(-1, units.count, output.shape[-1] // units.count)
            if needs_gradient:
                derivative = gradients[k].float().view_as(per_unit)
                totals[units.branch] += (per_unit * derivative).sum(dim=(0, 2)).abs()
            elif method == "activation":
                totals[units.branch] += per_unit.norm(dim=2).sum(dim=0)
            else:
                totals[units.branch] += (
                    per_unit.square().sum(dim=0).sqrt().mul(_column_sizes(model, units)).sum(dim=1)
                )
    return totals


def order_by_importance(
    model: Llama, tokens: Tensor, method: Importance = "wanda"
) -> dict[str, Tensor]:
    """Put the most important heads and neurons of each layer first, in place.

    What the model computes stays the same, up to rounding.

    Returns
    -------
    dict of str to (units,) int64
        Former index of each unit, by branch.
    """
    orders = {
        branch: torch.argsort(score, descending=True, stable=True)
        for branch, score in importances(model, tokens, method).items()
    }
    apply_order(model, orders)
    return orders


def apply_order(model: Llama, orders: dict[str, Tensor]) -> None:
    """Order the heads and neurons of a model, in place, as `order_by_importance` returned it."""
    shapes, weights = shapes_of(model), dict(model.named_parameters())
    for units in units_of(model, shapes):
        reorder(weights, shapes, units, orders[units.branch].to(model.device))


def precision_of(model: Llama) -> Any:
    """Return the precision in which a model is evaluated: as it is, or half of float32 on CUDA."""
    return "auto" if model.dtype == torch.float32 else "float32"


def _column_sizes(model: Llama, units: Units) -> Tensor:
    """Return the sums of absolute weights that read each output of units, (units, outputs each)."""
    weight = model.get_parameter(f"{units.branch}.proj.weight")
    return weight.abs().sum(dim=0, dtype=torch.float32).view(units.count, -1)


@contextmanager
def _recorded(
    model: Llama, branches: list[Units], *, needs_gradient: bool
) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of all units in a forward pass: what the last layer of a branch reads."""
    outputs: dict[str, Tensor] = {}

    def record(branch: str) -> Any:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (x,) = inputs
            if needs_gradient and not x.requires_grad:
                x = x.detach().requires_grad_()
            outputs[branch] = x
            return (x,)

        return hook

    handles = [
        model.get_submodule(f"{units.branch}.proj").register_forward_pre_hook(record(units.branch))
        for units in branches
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
