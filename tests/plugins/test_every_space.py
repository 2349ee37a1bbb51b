"""Every optimizer on every kind of space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_cost import by_cost
from hwnas_plugins._candidates import _step_choices, mutate_and_crossover
from hwnas_plugins._initial_design import corner_design, latin_hypercube
from hwnas_plugins._mutation import mutate_one
from hwnas_plugins._pymoo import ChoiceMutation
from hwnas_plugins.uniform import homogeneous_codes
from pymoo.core.problem import Problem

import hwnas
from hwnas import registry
from hwnas.errors import InvalidInput, MissingExtra, SpaceExhausted
from hwnas.optimizers import UniqueSampler
from hwnas.registry import lookup, names, settings_of
from hwnas.spaces import SearchSpace

NAMES = names("optimizer")
LAYERED: dict[str, Any] = {
    "name": "layered",
    "choices": {
        "depth": [0, 1, 3],
        "kind": ["a", "b", "c"],
        "rate": [0.1, 0.2],
        "on": [False, True],
    },
    "layers": {"act": ["relu", "prelu", "tanh"], "slope": [0.1, 0.2], "width": [8, 16, 32]},
    "conditions": {"rate": {"kind": ["b", "c"]}, "slope": {"act": ["prelu"]}},
}
SPACES: dict[str, dict[str, Any]] = {
    "layered": LAYERED,
    "allowed": {
        "name": "allowed",
        "choices": {"depth": [1, 2, 3]},
        "layers": {"n_head": [1, 2, 4, 6], "n_kv_head": [1, 2, 3]},
        "allowed": [[1, 1], [2, 1], [2, 2], [4, 2], [6, 1], [6, 3]],
    },
    "flat": {
        "name": "flat",
        "choices": {"x": list(range(40)), "kind": ["a", "b", "c", "d"], "on": [False, True]},
    },
    "two": {"name": "two", "choices": {"x": [1, 2, 3, 4, 5], "kind": ["a", "b", "c", "d"]}},
    "one": {"name": "one", "choices": {"x": [3], "kind": ["a"]}},
    "one layer": {"name": "one", "choices": {"depth": [1]}, "layers": {"width": [8]}},
    "no layer": {"name": "none", "choices": {"depth": [0], "x": [1, 2]}, "layers": {"w": [8, 9]}},
}
# Larger than any of the above in one way.
MANY: dict[str, dict[str, Any]] = {
    "200 columns": {"name": "many", "choices": {f"x{i}": [0, 1, 2] for i in range(200)}},
    "127 choices": {"name": "fine", "choices": {f"x{i}": list(range(127)) for i in range(5)}},
    "many roots": {
        "name": "roots",
        "choices": {"depth": [1, 2, 3], "x": list(range(50)), "kind": ["a", "b", "c"]},
        "layers": {"width": list(range(8, 40)), "act": ["relu", "gelu", "tanh"]},
    },
}
# Generations and initial designs that are small enough to come to several models.
SMALL = {"pop_size": 4, "initial": 4, "candidates": 16, "rounds": 1, "samples": 4}
BACKEND = """
import numpy as np
import hwnas

@hwnas.register_backend("sums")
class Sums(hwnas.Backend):
    metrics = {"a": hwnas.Metric(""), "b": hwnas.Metric("")}

    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        x = codes / np.maximum(self.space.cardinalities - 1, 1)
        columns = {"a": x.sum(axis=1), "b": ((1 - x) ** 2).sum(axis=1)}
        return hwnas.Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))
"""


def small_settings(name: str) -> dict[str, Any]:
    try:
        settings = settings_of(lookup("optimizer", name))
    except MissingExtra as missing:
        pytest.skip(str(missing))
    return {key: value for key, value in SMALL.items() if key in settings}


# -- optimizers ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::hwnas.errors.HwnasWarning")  # so few generations
@pytest.mark.parametrize("label", ["layered", "flat", "two", "one"])
@pytest.mark.parametrize("name", by_cost(NAMES))
def test_a_run_on_every_space(name: str, label: str, tmp_path: Path) -> None:
    registry.replace_registered({})
    plugin = tmp_path / "sums.py"
    plugin.write_text(BACKEND)
    experiment = {
        "name": "x",
        "space": SPACES[label],
        "backend": "sums",
        "objectives": ["a", "b"],
        "optimizers": [{"type": name, **small_settings(name)}],
        "budget": {"evaluations": 12},
        "seeds": 1,
    }
    result = hwnas.run(experiment, tmp_path / "run", plugins=[str(plugin)], draw=False)
    (search,) = result.searches
    space = hwnas.space(SPACES[label])
    # A space of one member ends exhausted, and that is no failure.
    assert len(search.trials.codes) == min(12, space.size)
    assert len(np.unique(search.trials.codes, axis=0)) == len(search.trials.codes)
    assert space.is_valid(search.trials.codes).all()


@pytest.mark.parametrize("label", ["allowed", "one layer", "no layer", *MANY])
@pytest.mark.parametrize("name", by_cost(NAMES))
def test_asks_and_results_on_every_space(name: str, label: str) -> None:
    """Proposals are valid and new until the space is exhausted, or a line says why not."""
    space = hwnas.space({**SPACES, **MANY}[label])
    settings = small_settings(name)
    if name == "gp" and label == "200 columns":
        with pytest.raises(InvalidInput, match="gp: expected at most 150 columns, found 200"):
            hwnas.optimizer(name, space, 2, seed=0, **settings)
        return
    optimizer = hwnas.optimizer(name, space, 2, seed=0, **settings)
    seen: set[bytes] = set()
    n_asked = 8 if label in MANY else 40
    while len(seen) < n_asked:
        try:
            answer: Any = optimizer.ask(2)
        except SpaceExhausted:
            assert len(seen) == space.size
            break
        codes = answer[0] if isinstance(answer, tuple) else answer
        assert space.is_valid(codes).all()
        assert not seen & set(map(bytes, codes))
        seen |= set(map(bytes, codes))
        x = codes / np.maximum(space.cardinalities - 1, 1)
        optimizer.tell(codes, np.stack([x.sum(axis=1), (1 - x).sum(axis=1)], axis=1))
    assert space.is_valid(optimizer.recommend()).all()


def test_no_plugin_names_a_column() -> None:
    """Optimizers see codes and layers, never the family."""
    folder = Path(hwnas.__file__).parents[1] / "plugins"
    for file in folder.glob("*.py"):
        code = "\n".join(
            line for line in file.read_text(encoding="utf-8").splitlines() if '"' in line
        )
        assert '"bias"' not in code
        assert '"embed_dim"' not in code


# -- variation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["layered", "allowed", "flat", "two", "no layer", "many roots"])
def test_a_mutation_is_a_uniform_neighbour(label: str) -> None:
    space, rng = hwnas.space({**SPACES, **MANY}[label]), np.random.default_rng(0)
    for code in space.sample(5, rng):
        expected = np.unique(space.neighbours(code), axis=0)
        n = 100 * len(expected)
        found, counts = np.unique(
            mutate_one(space, np.tile(code, (n, 1)), rng), axis=0, return_counts=True
        )
        np.testing.assert_array_equal(found, expected)
        # Chi-squared with k - 1 degrees of freedom, within six standard deviations.
        chi_squared = ((counts - 100) ** 2 / 100).sum()
        assert chi_squared < len(expected) + 6 * np.sqrt(2 * len(expected))


@pytest.mark.parametrize("label", [*SPACES, *MANY])
def test_candidates_and_designs_are_valid_and_distinct(label: str) -> None:
    space, rng = hwnas.space({**SPACES, **MANY}[label]), np.random.default_rng(0)
    children = mutate_and_crossover(space.sample(4, rng), 60, UniqueSampler(space, rng), rng)
    designs = [children, homogeneous_codes(space, rng), latin_hypercube(space, 16, rng)]
    if space.layer_columns.size:
        designs.append(corner_design(space))
    for codes in designs:
        assert len(codes)
        assert codes.dtype == np.int8
        assert space.is_valid(codes).all()
        assert len(np.unique(codes, axis=0)) == len(codes)


def test_homogeneous_codes_of_a_layered_space() -> None:
    space = hwnas.space(LAYERED)
    codes = homogeneous_codes(space, np.random.default_rng(0))
    configs = space.decode(codes)
    assert all(
        len(set(config["act"])) <= 1 and len(set(config["width"])) <= 1 for config in configs
    )
    # (no layer, or one or three layers of 2 activations and 2 slopes of the third) x kinds x on
    assert len(codes) == (1 + 2 * (2 + 2) * 3) * (1 + 2 + 2) * 2
    # The bool outside the layers stays on first; texts take part in the order.
    assert [config["on"] for config in configs] == [True] * 125 + [False] * 125
    assert {config["kind"] for config in configs[:4]} == {"a", "b", "c"}


def test_steps_of_a_flat_space_are_mostly_small() -> None:
    space = SearchSpace("line", {"x": list(range(100)), "kind": ["a", "b"]})
    rng = np.random.default_rng(0)
    parents = np.tile(space.canonical([[50, 1]]), (4000, 1))
    steps = np.abs(_step_choices(space, parents, rng)[:, 0].astype(int) - 50)
    assert 0.45 < (steps == 0).mean() < 0.55  # half of them stay
    assert (steps[steps > 0] <= 10).mean() > 0.8
    assert steps.max() > 20


def test_a_choice_without_an_order_is_redrawn_uniformly() -> None:
    space = SearchSpace("s", {"kind": list("abcdefgh"), "x": list(range(8))})
    problem = Problem(n_var=2, n_obj=1, xl=np.zeros(2), xu=space.cardinalities - 1, vtype=int)
    mutation = ChoiceMutation(space)
    rows = np.zeros((20_000, 2))
    mutated = mutation._do(problem, rows, random_state=np.random.default_rng(0))
    moved = mutated[mutated[:, 0] != 0]
    kinds = np.bincount(np.rint(moved[:, 0]).astype(int), minlength=8)[1:]
    assert kinds.min() > 0.8 * kinds.max()
    # Ordered choices move to near ones more often than to far ones.
    steps = np.bincount(np.rint(mutated[:, 1]).astype(int), minlength=8)
    assert steps[1] > 2 * steps[5]
