from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

import hwnas
from hwnas import plugin_files, registry
from hwnas.errors import HwnasError, InvalidInput, MissingExtra, UnknownName
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.spaces import Codes, SearchSpace


@pytest.fixture(autouse=True)
def _no_plugins() -> None:
    registry.replace_registered({})


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
        ({"rate": "fast"}, "setting 'rate' of optimizer 'mine': expected a number, found 'fast'"),
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


WRONG_VALUES: list[Any] = [
    None, 5, -0.5, math.nan, True, "five", "a\nb", [], [[]], [None], ["x"], {}, {"x": 1}, {1: 2},
    "x" * 500, object(), b"x",
]  # fmt: skip


def _settings() -> list[tuple[registry.Kind, str, str]]:
    kinds: tuple[registry.Kind, ...] = ("optimizer", "backend")
    return [
        (kind, name, key)
        for kind in kinds
        for name in registry.names(kind)
        for key in registry.settings_of(registry.lookup(kind, name))
    ]


@pytest.mark.parametrize(("kind", "name", "key"), _settings())
def test_wrong_types_are_explained_in_own_words(kind: registry.Kind, name: str, key: str) -> None:
    settings = registry.settings_of(registry.lookup(kind, name))
    form = registry.describe_type(settings[key].annotation)
    required = {k: "text" for k, setting in settings.items() if setting.default is setting.empty}
    messages = []
    for value in WRONG_VALUES:
        try:
            registry.checked_settings(kind, name, {**required, key: value})
        except InvalidInput as error:
            messages.append(str(error))
    assert len(messages) >= 5
    prefix = f"setting {key!r} of {kind} {name!r}: expected {form}, found "
    for message in messages:
        assert message.startswith(prefix)
        assert len(message) <= len(prefix) + 80
        assert "\n" not in message


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "an integer"),
        (float | None, "a number or null"),
        (Optional[str], "a text or null"),  # noqa: UP045 - another form of the same type
        (bool, "true or false"),
        (list[str], "a list of texts"),
        (tuple[int, float], "a list of integers or numbers"),
        (tuple[tuple[int, ...], ...], "a list of lists of integers"),
        (Sequence[int], "a list of integers"),
        (list, "a list"),
        (dict[str, Any], "keys and values"),
        (Mapping[str, int] | None, "keys and values or null"),
        (Literal["bytes", "gpt2"], "bytes or gpt2"),
        (Annotated[int, "positive"], "an integer"),
        (Any, "any value"),
        (Path, "pathlib.Path"),
    ],
)
def test_types_in_words(annotation: Any, text: str) -> None:
    # Classes of other libraries keep their names.
    assert registry.describe_type(annotation).replace("pathlib._local", "pathlib") == text


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
    with pytest.raises(
        InvalidInput, match="optimizer 'needy' needs the setting 'much': expected an "
    ):
        hwnas.optimizer("needy", small_space, 2, seed=0)


def test_unknown_names(small_space: SearchSpace) -> None:
    with pytest.raises(UnknownName, match=r"unknown optimizer 'ehv'; did you mean 'ehvi'\?"):
        hwnas.optimizer("ehv", small_space, 2, seed=0)
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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("", name="hwnas.gone"), "there is no module hwnas.gone"),
        (ModuleNotFoundError("", name="hwnas_plugins.gone"), "no module hwnas_plugins.gone"),
        (ImportError("cannot import name 'x' from 'hwnas.y'", name="hwnas.y"), "import name 'x'"),
    ],
)
def test_another_version_of_hwnas_is_no_missing_library(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, reason: str
) -> None:
    class Point:
        def load(self) -> type:
            raise error

    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"x": Point()})
    with pytest.raises(InvalidInput, match="'x' is written for another version of hwnas") as caught:
        registry.lookup("optimizer", "x")
    assert reason in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_an_import_error_of_a_plugin_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> type:
            raise ImportError("cannot import name 'x' from 'mine'", name="mine")

    monkeypatch.setattr(registry, "_entry_points", lambda kind: {"x": Point()})
    with pytest.raises(ImportError, match="from 'mine'") as caught:
        registry.lookup("optimizer", "x")
    assert not isinstance(caught.value, HwnasError)


# -- files ---------------------------------------------------------------------------------------

PLUGIN = """
import dataclasses
import hwnas

@dataclasses.dataclass
class Own:
    value: int = 3

@hwnas.register_optimizer("of-a-file")
class OfAFile(hwnas.Optimizer):
    def ask(self, n):
        return self.space.sample(n, self.rng)

@hwnas.register_backend("of-a-file")
class Answers(hwnas.Backend):
    def evaluate(self, codes, objectives, *, seeds, fidelity=None):
        raise NotImplementedError
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN, encoding="utf-8")
    return file


def test_a_file_registers(plugin: Path, small_space: SearchSpace) -> None:
    loaded = plugin_files.load_plugin_file(plugin)
    assert loaded.registered == (("optimizer", "of-a-file"), ("backend", "of-a-file"))
    assert loaded.sha256 == hashlib.sha256(plugin.read_bytes()).hexdigest()
    assert loaded.path == plugin.resolve()
    assert registry.kinds_of("of-a-file") == ["optimizer", "backend"]
    made = hwnas.optimizer("of-a-file", small_space, 2, seed=0)
    assert made.ask(3).shape == (3, 9)
    assert pickle.loads(pickle.dumps(type(made))) is type(made)


def test_a_file_runs_once_for_a_content(plugin: Path) -> None:
    first = plugin_files.load_plugin_file(plugin)
    cls = registry.lookup("optimizer", "of-a-file")
    hwnas.register_optimizer("of-a-file")(Mine)
    assert plugin_files.load_plugin_file(str(plugin)) == first
    assert registry.lookup("optimizer", "of-a-file") is cls
    plugin.write_text(PLUGIN + "\n# changed", encoding="utf-8")
    assert plugin_files.load_plugin_file(plugin).sha256 != first.sha256
    assert registry.lookup("optimizer", "of-a-file") is not cls


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "registers nothing, expected @hwnas.register_optimizer"),
        ("def f(:\n    pass", r", line 1: SyntaxError: "),
        ("\nimport no_such_module_at_all", r", line 2: ModuleNotFoundError: No module named"),
        ("x = 1\n\n1 / 0", ", line 3: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", ", line 1: SystemExit: 3"),
        (PLUGIN + "\nraise ValueError('two\\nlines')", r", line \d+: ValueError: two lines"),
        ("import hwnas\nhwnas.register_optimizer('a b')", ", line 2: InvalidInput: optimizer name"),
        ("a\0b", "null bytes"),
    ],
)
def test_a_file_that_does_not_work(plugin: Path, source: str, message: str) -> None:
    plugin.write_text(source, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(InvalidInput, match=message) as caught:
            plugin_files.load_plugin_file(plugin)
        assert str(caught.value).startswith(str(plugin))
        assert "\n" not in str(caught.value)
    assert "of-a-file" not in registry.names("optimizer")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.py: no such file"):
        plugin_files.load_plugin_file(tmp_path / "none.py")
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        plugin_files.load_plugin_file(tmp_path)


def test_a_class_serves_as_a_name(small_space: SearchSpace) -> None:
    assert isinstance(hwnas.optimizer(Mine, small_space, 2, seed=0, rate=0.25), Mine)
    with pytest.raises(UnknownName, match="unknown setting of optimizer Mine: 'rat'"):
        hwnas.optimizer(Mine, small_space, 2, seed=0, rat=0.25)
    with pytest.raises(InvalidInput, match="backend Mine: expected a subclass of Backend"):
        registry.lookup("backend", Mine)
