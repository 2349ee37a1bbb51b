"""Random input to every parser: an error of hwnas in one line, or a value that can be written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hwnas
from hwnas.errors import HwnasError, one_line
from hwnas.experiment import Experiment, validate_form
from hwnas.objectives import Objective
from hwnas.problem import load_experiment
from hwnas.problems.csv_table import read_csv
from hwnas.problems.table import Table, TableSpace
from hwnas.runner.results import Result
from hwnas.spaces import SearchSpace
from hwnas.spaces.arch_input import parse_arguments, parse_text
from hwnas.yaml_loader import dump_yaml, parse_yaml

sys.path.insert(0, str(Path(__file__).parent))
from bad_architectures import GPT
from bad_case import check_refused, run_command
from bad_experiments import GOOD
from bad_tables import GOOD as GOOD_TABLE

TEXT = "".join(f"{key}: {value}\n" for key, value in GOOD.items())
CONTENT: dict[str, Any] = yaml.safe_load(TEXT)
MANY = settings(max_examples=200)
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextlib.contextmanager
def refusal() -> Iterator[None]:
    """Let a block raise an error that a user can mend, of one line, and no other."""
    try:
        yield
    except HwnasError as error:
        line = one_line(str(error))
        assert line.isprintable()
        assert line


# Numbers, texts and nests that parsers have stumbled over.
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -0.0, -1, 1, 1.5, 2**31, 2**63, 10**30, -(2**70), 1e308, 5e-324),
        *(float("inf"), float("nan"), "", " ", ".", "..", "/", "a/b", "../a", "~", "a" * 300),
        *("gpt-s", "random", "surrogate", "params", "params <= 1", "-0", "1e400", "NaN", "\u0661"),
        *("<b>", "\x1b[31m", "a\nb", "\u202e", "\xe9", "\U0001f600", "%s", "{}", "$(x)", "'; --"),
    ]
)
VALUES = st.recursive(
    ODD | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*GOOD, "type", "choices", "layers", "a"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
# Pieces of the languages that hwnas reads, in any order.
PIECES = st.sampled_from(
    [
        *"{}[]()<>=:,;-+&*!|?#%@'\"`~.\\ \t\r\n\0\x1b\ufeff\ud800",
        *("<<: ", "&a ", "*a", "!!int ", "- ", *GOOD, *GOOD.values(), "1e400", "-0", "9" * 30),
        *("latency", "@h100", "+rtx3080", ":p90", "<=", ">=", "params", "gpt-s-", "10-192-"),
        *("True", "mlp:", "depth=2", "/", "16:32", "arch"),
    ]
)
SOUP = st.lists(PIECES | st.text(max_size=3), max_size=20).map("".join)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with some parts left out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(PIECES | st.text(max_size=3) | st.just(text[start:end] * 2))
        text = text[:start] + piece + text[end:]
    return text


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within a value."""
    yield path
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, item in entries:
        yield from paths_of(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A value with another one at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


RICH: dict[str, Any] = {
    **CONTENT,
    "space": {
        "name": "own",
        "choices": {"depth": [1, 2], "kind": ["a", "b"], "rate": [0.1, 0.2]},
        "layers": {"width": [16, 32], "act": ["relu", "tanh"]},
        "conditions": {"rate": {"kind": ["a"]}},
        "allowed": [[16, "relu"], [32, "tanh"]],
    },
    "backend": {"type": "surrogate"},
    "constraints": ["params <= 1e9"],
    "optimizers": [{"type": "nsga2", "name": "small", "pop_size": 4, "batch": 2}, "random"],
    "budget": {"evaluations": 10, "cost": 5.5, "seconds": 3},
    "seeds": [0, 1],
    "noise": False,
    "reference": [40.0, 90.0],
    "executor": {"type": "process", "workers": 2, "timeout": 1.5, "memory": "1 GB"},
}


# -- YAML and experiments --------------------------------------------------------------------------


@MANY
@given(st.binary(max_size=60) | SOUP.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_yaml_or_refused(content: bytes) -> None:
    with refusal():
        value = parse_yaml(content)
        assert equal(parse_yaml(dump_yaml(value)), value)


def equal(a: Any, b: Any) -> bool:
    """Whether values are equal, NaN to itself."""
    return repr(a) == repr(b)


@MANY
@given(mutated(TEXT))
def test_mutated_texts_are_experiments_or_refused(text: str) -> None:
    with refusal():
        content = parse_yaml(text)
        if isinstance(content, dict):
            check_round_trip(validate_form(content, "x.yaml"))


@MANY
@given(st.data())
def test_mutated_values_are_experiments_or_refused(data: st.DataObject) -> None:
    content: Any = RICH
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([*paths_of(content)][1:]))
        content = replaced(content, path, data.draw(VALUES))
        if not isinstance(content, dict):
            return
    with refusal():
        check_round_trip(validate_form(content, "x.yaml"))


def check_round_trip(experiment: Experiment) -> None:
    assert equal(validate_form(parse_yaml(experiment.to_yaml())), experiment)


@settings(MANY, max_examples=150)
@given(st.data())
def test_mutated_experiments_are_problems_or_refused(data: st.DataObject) -> None:
    """Values that another part of hwnas reads: spaces, settings, the grammar of objectives."""
    source = data.draw(st.sampled_from([RICH, {**RICH, "space": "gpt-s"}]))
    path = data.draw(st.sampled_from([*paths_of(source)][1:]))
    with refusal():
        load_experiment(replaced(source, path, data.draw(VALUES)))


KEYS = st.sampled_from([*GOOD, "budget.evaluations", "optimizers.0", "space.name", "a.b", "."])


@settings(MANY, max_examples=100)
@given(KEYS | SOUP, SOUP | ODD.map(str))
def test_any_assignment_is_taken_or_refused(key: str, value: str) -> None:
    from hwnas.cli.usage import parse_overrides

    with refusal():
        load_experiment(CONTENT, parse_overrides([f"{key}={value}"], None))


# -- grammar ---------------------------------------------------------------------------------------


@MANY
@given(SOUP | mutated("-latency@h100+rtx3080:p90") | mutated("params <= 1.5e8"))
def test_any_objective_is_parsed_or_refused(text: str) -> None:
    with refusal():
        objective = Objective.parse(text)
        assert Objective.parse(str(objective)) == objective


# -- architectures ---------------------------------------------------------------------------------

OWN = hwnas.space(
    {
        "name": "mlp",
        "choices": {"depth": [0, 1, 2], "kind": ["a:b", "%", "\u00fc /", "*"], "rate": [0.1, 0.2]},
        "layers": {"width": [16, 32], "gate": [True, False]},
        "conditions": {"rate": {"kind": ["%"]}},
    }
)
TINY = {"embed_dim": [8], "n_layer": [1, 2], "n_head": [2, 4]}
SPACES: list[SearchSpace] = [
    OWN,
    hwnas.space({"name": "g", **TINY, "mlp_ratio": [0, 1]}),
    hwnas.space({"name": "l", "family": "llama", **TINY, "mlp_dim": [8], "n_kv_head": [1, 2]}),
    hwnas.space("gpt-s"),
    hwnas.space("zdt1"),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_mutated_architectures_are_parsed_or_refused(space: SearchSpace) -> None:
    members = space.decode(space.sample(20, np.random.default_rng(0)))

    @settings(MANY, max_examples=100)
    @given(st.sampled_from(members).flatmap(lambda member: mutated(str(member))) | SOUP)
    def check(text: str) -> None:
        with refusal():
            (item,) = parse_arguments([text], space)
            codes = space.encode([item.arch])
            assert space.is_valid(codes).all()
            # What can be parsed is written as something that is parsed to the same.
            (again,) = parse_arguments([str(item.arch)], space)
            assert np.array_equal(space.encode([again.arch]), codes)

    check()


@MANY
@given(
    SOUP
    | mutated(GPT + "\n" + GPT)
    | mutated(json.dumps([GPT, {"arch": GPT}]))
    | mutated(f"arch,note\n{GPT},1\n")
    | VALUES.map(lambda value: json.dumps([value]))
)
def test_any_text_of_architectures_is_parsed_or_refused(text: str) -> None:
    with refusal():
        assert parse_text(text)
    with refusal():
        assert parse_text(text, OWN)


# -- tables ----------------------------------------------------------------------------------------


@settings(MANY, max_examples=150)
@given(
    mutated(GOOD_TABLE).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | SOUP.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=60)
)
def test_any_table_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, refusal():
        file = Path(folder, "t.csv")
        file.write_bytes(content)
        table = read_csv(file)
        assert all(len(row) == len(table.columns) for row in table.rows)
        choices = [name for name in table.columns if name in ("depth", "rate")]
        space = TableSpace("mine", file=str(file), choices=choices)
        backend = Table(space)
        objectives = tuple(map(Objective.parse, backend.metrics))
        if objectives:
            backend.front(objectives[:2])
            codes = space.sample(4, np.random.default_rng(0))
            backend.evaluate(codes, objectives, seeds=np.zeros(4, dtype=np.uint64))


# -- stores ----------------------------------------------------------------------------------------

CELLS = ODD.filter(lambda value: not isinstance(value, int) or abs(value) < 2**63) | st.binary(
    max_size=30
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    return hwnas.run(CONTENT, folder / "run", draw=False).path


@FEW
@given(st.data())
def test_any_cell_of_a_store_is_read_or_refused(finished: Path, data: st.DataObject) -> None:
    file = finished / "random/seed-0/trials.db"

    def columns(db: sqlite3.Connection, table: str) -> list[str]:
        return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]

    with damaged(file):
        with contextlib.closing(sqlite3.connect(file)) as db, db:
            table = data.draw(st.sampled_from(["trials", "meta", "recommendations"]))
            column = data.draw(st.sampled_from(columns(db, table)))
            rows = [row[0] for row in db.execute(f"SELECT rowid FROM {table}")]
            row = data.draw(st.sampled_from([*rows, -1]))
            with contextlib.suppress(sqlite3.IntegrityError):
                db.execute(
                    f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?', (data.draw(CELLS), row)
                )
        check_reading(lambda: Result(finished))


@FEW
@given(st.data())
def test_any_byte_of_a_store_is_read_or_refused(finished: Path, data: st.DataObject) -> None:
    file = finished / "random/seed-0/trials.db"
    with damaged(file):
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.sampled_from([len(content), len(content) // 2, 4096, 100]))
        file.write_bytes(content[:cut])
        check_reading(lambda: Result(finished))


def check_reading(read: Callable[[], Result]) -> None:
    with refusal(), np.errstate(all="ignore"):
        result = read()
        assert result.summary
        for search in result.searches:
            result.space.decode(search.front.codes)


@contextlib.contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Put a file back after a block that damages it."""
    content = file.read_bytes()
    try:
        yield
    finally:
        for name in ("-wal", "-shm"):
            file.with_name(file.name + name).unlink(missing_ok=True)
        file.write_bytes(content)


# -- the command line ------------------------------------------------------------------------------


@settings(FEW, max_examples=40)
@given(mutated(TEXT))
def test_mutated_experiments_run_or_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, monkeypatch.context() as patch:
        patch.chdir(folder)
        Path("x.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        arguments = ["run", "x.yaml", "--out", "out", "--no-draw", "--quiet"]
        outcome = run_command(*arguments, "--set", "budget.evaluations=4")
        if outcome.code:
            check_refused(outcome)
            assert not Path("out").exists()
        else:
            assert outcome.err == ""
