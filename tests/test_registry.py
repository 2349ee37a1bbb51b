from __future__ import annotations

from typing import Any

import pytest

import hwnas
from hwnas import registry
from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.spaces import Codes, SearchSpace


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decorated classes of a test are gone after it."""
    monkeypatch.setattr(registry, "_decorated", {"optimizer": {}, "backend": {}})


class Mine(Optimizer):
    """Asks for the same thing."""

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        rate: float = 0.5,
        sizes: tuple[int, ...] = (1,),
        name_of_it: str | None = None,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.rate, self.sizes, self.name_of_it = rate, sizes, name_of_it

    def ask(self, n: int) -> Codes:
        return self.space.sample(n, self.rng)


def test_built_in_names() -> None:
    assert {"random", "uniform", "nsga2"} <= set(registry.names("optimizer"))
    assert "surrogate" in registry.names("backend")


def test_decorator(small_space: SearchSpace) -> None:
    assert hwnas.register_optimizer("mine")(Mine) is Mine
    made = hwnas.optimizer("mine", small_space, 2, seed=0, rate=0.25, sizes=[1, 2])
    assert isinstance(made, Mine)
    assert (made.rate, made.sizes) == (0.25, (1, 2))
    assert "mine" in registry.names("optimizer")


def test_decorator_goes_before_an_entry_point(small_space: SearchSpace) -> None:
    hwnas.register_optimizer("random")(Mine)
    assert isinstance(hwnas.optimizer("random", small_space, 2, seed=0), Mine)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rat": 0.1}, "unknown setting of optimizer 'mine': 'rat'; did you mean 'rate'?"),
        ({"seed_": 1}, "unknown setting of optimizer 'mine': 'seed_'"),
        ({"rate": "fast"}, "setting 'rate' of optimizer 'mine': .*valid number, found 'fast'"),
        ({"rate": True}, "setting 'rate'.*found True"),
        ({"sizes": [1, "2"]}, "setting 'sizes'"),
        ({"sizes": 3}, "setting 'sizes'"),
        ({"rate": object()}, "setting 'rate'"),
    ],
)
def test_settings_are_checked(
    small_space: SearchSpace, settings: dict[str, Any], message: str
) -> None:
    hwnas.register_optimizer("mine")(Mine)
    with pytest.raises(InvalidInput, match=message):
        hwnas.optimizer("mine", small_space, 2, seed=0, **settings)


def test_an_integer_serves_as_a_float(small_space: SearchSpace) -> None:
    hwnas.register_optimizer("mine")(Mine)
    made = hwnas.optimizer("mine", small_space, 2, seed=0, rate=1)
    assert isinstance(made, Mine)
    assert made.rate == 1.0


def test_required_settings(small_space: SearchSpace) -> None:
    class Needy(Mine):
        def __init__(self, *args: Any, much: int, **how: Any) -> None:
            super().__init__(*args, **how)

    hwnas.register_optimizer("needy")(Needy)
    with pytest.raises(InvalidInput, match="optimizer 'needy' needs the setting 'much'"):
        hwnas.optimizer("needy", small_space, 2, seed=0)


def test_unknown_names(small_space: SearchSpace) -> None:
    with pytest.raises(UnknownName, match=r"unknown optimizer 'nsga'; did you mean 'nsga2'\?"):
        hwnas.optimizer("nsga", small_space, 2, seed=0)
    with pytest.raises(UnknownName, match="unknown backend 'surogate'; did you mean 'surrogate'"):
        registry.backend("surogate", small_space)


def test_only_optimizers_are_optimizers() -> None:
    with pytest.raises(InvalidInput, match="expected a subclass of Optimizer"):
        hwnas.register_optimizer("list")(list)
    with pytest.raises(InvalidInput, match="expected a subclass of Backend"):
        hwnas.register_backend("mine")(Mine)
    with pytest.raises(InvalidInput, match="optimizer name"):
        hwnas.register_optimizer("../mine")


def test_fidelities_reach_those_that_choose_them(small_space: SearchSpace) -> None:
    class Rungs(MultiFidelityOptimizer):
        def ask(self, n: int) -> tuple[Codes, int]:  # type: ignore[override]
            return self.space.sample(n, self.rng), self.fidelities[0]

    hwnas.register_optimizer("rungs")(Rungs)
    assert hwnas.optimizer("rungs", small_space, 2, seed=0).fidelities == (1,)  # type: ignore[attr-defined]
    made = hwnas.optimizer("rungs", small_space, 2, seed=0, fidelities=(1, 3))
    assert made.fidelities == (1, 3)  # type: ignore[attr-defined]


def test_noise_of_a_backend_without_any(small_space: SearchSpace, toy: hwnas.Backend) -> None:
    hwnas.register_backend("toy")(type(toy))
    assert registry.backend("toy", small_space).space is small_space
    with pytest.raises(InvalidInput, match="backend 'toy' has no noise to draw"):
        registry.backend("toy", small_space, noise=True)


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> type:
            raise ModuleNotFoundError("No module named 'pymoo'", name="pymoo.core")

    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"x": Point()})
    with pytest.raises(MissingExtra, match=r'needs pymoo: pip install "hwnas\[pymoo\]"'):
        registry.lookup("optimizer", "x")
    Point.load = lambda self: (_ for _ in ()).throw(ModuleNotFoundError("", name="foo"))  # type: ignore[method-assign,assignment]
    with pytest.raises(InvalidInput, match="needs foo, which is not installed"):
        registry.lookup("optimizer", "x")
