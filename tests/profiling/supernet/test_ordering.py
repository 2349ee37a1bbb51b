"""The order of heads and neurons leaves the largest network's outputs as they are."""

from __future__ import annotations

import torch

from hwnas.profiling.supernet.extremes import largest
from hwnas.profiling.supernet.ordering import importance, reorder, units_of
from hwnas.profiling.supernet.shared_weights import SharedWeights


def units_with_kinds(shared: SharedWeights) -> list[tuple[str, int]]:
    model = shared.subnetwork(largest(shared.space))
    return [(units.branch, units.count) for units in units_of(model, shared.shapes)]


def test_units(shared: SharedWeights) -> None:
    hidden = 64 if shared.space.family == "gpt" else 32
    expected = [
        (f"blocks.{i}.{b}", n) for i in (0, 1) for b, n in (("attention", 2), ("mlp", hidden))
    ]
    assert units_with_kinds(shared) == expected


@torch.no_grad()
def test_any_order_leaves_the_outputs_as_they_are(shared: SharedWeights) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in shared.weights.values():
        weight += torch.randn(weight.shape, generator=generator) / 9
    tokens, arch = torch.arange(16)[None], largest(shared.space)
    before = {name: weight.clone() for name, weight in shared.weights.items()}
    logits = shared.subnetwork(arch)(tokens)
    for units in units_of(shared.subnetwork(arch), shared.shapes):
        order = torch.arange(units.count).roll(1)
        reorder(shared.weights, shared.shapes, units, order)
    changed = [name for name in before if not torch.equal(before[name], shared.weights[name])]
    assert {"blocks.0.attention.qkv.weight", "blocks.1.mlp.proj.weight"} <= set(changed)
    assert torch.allclose(shared.subnetwork(arch)(tokens), logits, atol=1e-5)


def test_importance_is_the_derivative_of_a_factor(shared: SharedWeights) -> None:
    """Scaling the output of a unit changes the loss at the rate that is its importance."""
    arch, tokens = largest(shared.space), torch.arange(17)[None]
    model = shared.subnetwork(arch, copy=True).double()
    model.loss(tokens[:, :-1], tokens[:, 1:]).backward()  # type: ignore[no-untyped-call]
    for units in units_of(shared.subnetwork(arch), shared.shapes):
        found = importance(model, units)[0]
        weight = model.get_parameter(f"{units.branch}.proj.weight")
        columns = slice(0, weight.shape[1] // units.count)
        losses = []
        with torch.no_grad():
            for factor in (1 + 1e-5, (1 - 1e-5) / (1 + 1e-5)):
                weight[:, columns] *= factor
                losses.append(model.loss(tokens[:, :-1], tokens[:, 1:]))
            weight[:, columns] /= 1 - 1e-5
        assert torch.isclose(found, ((losses[0] - losses[1]) / 2e-5).abs(), rtol=1e-3, atol=1e-9)
