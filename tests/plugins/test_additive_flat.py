"""The additive optimizer on spaces without layers."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.problems import get_problem

import hwnas
from hwnas import pareto
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes


def losses_of(name: str, codes: Codes) -> Array:
    problem = get_problem(name)
    x = problem.xl + (problem.xu - problem.xl) * codes / 63
    return np.asarray(problem.evaluate(x), dtype=float)


@pytest.mark.parametrize("name", ["zdt1", "zdt2"])
def test_ahead_of_random_search(name: str) -> None:
    """30 variables of 64 values each: 64^30 members, and no sum over layers."""
    n_variables = get_problem(name).n_var
    space = SearchSpace(name, {f"x{i}": list(range(64)) for i in range(n_variables)})
    search = hwnas.optimizer("additive", space, 2, seed=0, tables=2, draws=8)
    found = np.empty((0, 2))
    while len(found) < 40:
        codes = search.ask(4)
        losses = losses_of(name, codes)
        search.tell(codes, losses)
        found = np.concatenate([found, losses])
    random = losses_of(name, space.sample(2000, np.random.default_rng(0)))
    reference = random.max(axis=0)
    volumes = [pareto.hypervolume(part, reference) for part in random.reshape(-1, 40, 2)]
    assert pareto.hypervolume(found, reference) > 1.2 * max(volumes)
    (line,) = search.diagnostics()
    assert line.startswith("its model, a sum of one effect per choice, predicts ")
    assert "between configurations (each predicted" in line
