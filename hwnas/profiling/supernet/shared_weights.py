"""Weights that all architectures of a space share, and dense models with them.

A subnetwork is an ordinary model of its family. Its parameters are views of the shared weights, so
that building one copies no numbers, and its gradients add up in the shared memory. Only a parameter
whose rows consist of several parts (`LanguageModel.row_parts`) is a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.profiling.language_model import (
    LanguageModel,
    build_model,
    draw_parameters,
)
from hwnas.profiling.supernet.extremes import smallest, spanning_codes
from hwnas.profiling.supernet.slicing import (
    Shape,
    add_entries,
    first_entries,
    shapes_of,
    union_of_shapes,
)
from hwnas.spaces import LanguageModelSpace

_ALIGNMENT = 64  # numbers; kernels read whole vectors from aligned addresses


class SharedWeights:
    """Weights from which every architecture of a space takes its own.

    Parameters
    ----------
    space
        Space of the architectures.
    device
        Device of the weights.

    Attributes
    ----------
    weights : dict of str to Tensor
        Each as large as the largest parameter of that name; not initialized, see `reset`.
    gradients : dict of str to Tensor
        Of the same shapes; empty before `allocate_gradients`.
    flat_gradient : (n,) float32
        The memory of all gradients.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space({"name": "tiny", "embed_dim": [8, 16], "n_layer": [1, 2],
    ...                      "mlp_ratio": [1, 2], "n_head": [1, 2], "head_size": 8,
    ...                      "context": 16, "vocab_size": 50})
    >>> shared = SharedWeights(space)
    >>> shared.reset(seed=0)
    >>> shared.subnetwork(space.parse("tiny-1-8-2-1-True")).params
    1416
    """

    def __init__(self, space: LanguageModelSpace, *, device: str | torch.device = "cpu") -> None:
        self.space, self.device = space, torch.device(device)
        archs = space.decode(spanning_codes(space))
        self.shapes = union_of_shapes(build_model(space, arch, device="meta") for arch in archs)
        self.weights: dict[str, Tensor] = {
            name: torch.empty(shape.lengths, device=device) for name, shape in self.shapes.items()
        }
        self.gradients: dict[str, Tensor] = {}
        self.flat_gradient = torch.empty(0, device=device)
        # Tables that follow from the sizes, such as those of rotary positions, are the same in all.
        tables = build_model(space, smallest(space)).named_buffers()
        self._tables = {name: table.to(device) for name, table in tables}

    def reset(self, seed: int) -> None:
        """Draw new initial weights, see `hwnas.profiling.language_model.draw_parameters`."""
        draw_parameters(self.weights, seed)

    def allocate_gradients(self) -> None:
        """Allocate gradients of zeros; all lie in `flat_gradient`."""
        sizes = [-(-w.numel() // _ALIGNMENT) * _ALIGNMENT for w in self.weights.values()]
        self.flat_gradient = torch.zeros(sum(sizes), device=self.device)
        parts = torch.split(self.flat_gradient, sizes)
        self.gradients = {
            name: part[: weight.numel()].view_as(weight)
            for (name, weight), part in zip(self.weights.items(), parts, strict=True)
        }

    @torch.no_grad()
    def subnetwork(self, arch: Any, *, copy: bool = False) -> LanguageModel:
        """Return the model of an architecture with its part of the weights.

        Parameters
        ----------
        arch
            Architecture of the space.
        copy
            Whether the model has contiguous weights of its own. Otherwise they are views of the
            shared ones, and their gradients views of the shared gradients, if there are any; of a
            parameter that is a copy the gradient is missing there until `add_gradients`.

        Raises
        ------
        InvalidInput
            The architecture is not in the space.
        """
        model = build_model(self.space, arch, device="meta")
        modules = dict(model.named_modules())
        for name, shape in shapes_of(model).items():
            full_shape, is_view = self.shapes[name], len(shape.rows) == 1
            entries = first_entries(self.weights[name], full_shape, shape)
            if copy and is_view:
                entries = entries.clone(memory_format=torch.contiguous_format)
            parameter = nn.Parameter(entries)
            if is_view and not copy and self.gradients:
                parameter.grad = first_entries(self.gradients[name], full_shape, shape)
            owner, _, leaf = name.rpartition(".")
            setattr(modules[owner], leaf, parameter)
        for name, table in self._tables.items():
            owner, _, leaf = name.rpartition(".")
            setattr(modules[owner], leaf, table.clone() if copy else table)
        return model

    @torch.no_grad()
    def refresh(self, model: LanguageModel) -> None:
        """Give a subnetwork the present weights, as if it were a new one; this is faster."""
        for name, parameter, shape in self._copies(model):
            parameter.copy_(first_entries(self.weights[name], self.shapes[name], shape))

    @torch.no_grad()
    def add_gradients(self, model: LanguageModel) -> None:
        """Add the gradients of a subnetwork's copies to the shared ones, and remove them."""
        for name, parameter, shape in self._copies(model):
            if parameter.grad is not None:
                add_entries(self.gradients[name], parameter.grad, self.shapes[name], shape)
            parameter.grad = None

    def _copies(self, model: LanguageModel) -> Iterator[tuple[str, nn.Parameter, Shape]]:
        """Yield the parameters of a subnetwork that are copies, with names and shapes."""
        for name, rows in model.row_parts.items():
            if len(rows) > 1:
                parameter = model.get_parameter(name)
                yield name, parameter, Shape(rows, tuple(parameter.shape[1:]))
