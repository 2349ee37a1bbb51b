from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import InvalidInput
from hwnas.runner import store_schema
from hwnas.runner.storage import Store, Trials

MEASURED = ["perplexity", 'odd "name"@x:p90', "params <= 1e8"]


def some_trials(n: int, seed: int = 0) -> Trials:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3))
    values[::3, 1] = np.nan
    return Trials(
        codes=rng.integers(0, 3, size=(n, 5), dtype=np.int8),
        values=values,
        std=np.abs(rng.normal(size=(n, 3))),
        repeat=rng.integers(0, 2, n),
        fidelity=rng.integers(-1, 81, n),
        evaluations=rng.integers(0, 9, n),
        seconds=rng.random(n),
        ask=np.arange(n) // 2,
        tells_before=np.arange(n) // 2,
        tell=np.arange(n) // 2,
        elapsed=np.sort(rng.random(n)),
        status=["ok" if np.isfinite(v).all() else "failed" for v in values],
        reason=["" if np.isfinite(v).all() else "it's \n odd" for v in values],
    )


def test_statuses_are_those_of_the_trials(tmp_path: Path) -> None:
    with Store.create(tmp_path / "trials.db", MEASURED, {}) as made:
        assert made.statuses() == set()
        trials = some_trials(5)
        made.add(trials)
        assert made.statuses() == set(trials.status) == {"ok", "failed"}


@pytest.mark.parametrize("kilobytes", [1, 8, 12, 24])
def test_a_store_without_space_leaves_nothing(tmp_path: Path, kilobytes: int) -> None:
    """A limit of the size of files does what a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, limits[1]))
    try:
        with pytest.raises(InvalidInput, match=r"trials\.db: cannot be written: "):
            Store.create(tmp_path / "trials.db", MEASURED, {"experiment": "x" * 30_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [*tmp_path.iterdir()]


def assert_same(left: Trials, right: Trials) -> None:
    for field in fields(Trials):
        np.testing.assert_array_equal(getattr(left, field.name), getattr(right, field.name))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "trials.db", MEASURED, {"experiment": "name: x"}) as made:
        yield made


def test_trials_come_back(store: Store) -> None:
    assert len(store.trials()) == 0
    store.add(some_trials(7))
    assert_same(store.trials(), some_trials(7))
    store.add(some_trials(3, seed=1))
    assert len(store.trials()) == 10
    assert_same(store.trials()[7:], some_trials(3, seed=1))
    assert store.trials().ok.sum() == sum(s == "ok" for s in store.trials().status)


def test_another_process_sees_what_was_added(store: Store) -> None:
    store.add(some_trials(4))
    with Store.open(store.path) as again:
        assert_same(again.trials(), some_trials(4))
        assert again.meta == {"version": "1", "experiment": "name: x"}


def test_a_batch_is_added_whole_or_not_at_all(store: Store) -> None:
    store.add(some_trials(2))
    broken = replace(some_trials(3), status=["ok", "ok", None])  # type: ignore[list-item]
    with pytest.raises(sqlite3.IntegrityError):
        store.add(broken)
    assert_same(store.trials(), some_trials(2))


def test_notes(store: Store) -> None:
    store.set_meta("finished", "true")
    store.set_meta("finished", "false")
    assert store.meta["finished"] == "false"


def test_columns_bear_the_names_of_objectives(store: Store) -> None:
    store.add(some_trials(2))
    (value,) = sqlite3.connect(store.path).execute('SELECT "perplexity" FROM trials').fetchone()
    assert value == some_trials(2).values[0, 0]


@pytest.mark.parametrize(
    "names",
    [
        *([name, "error"] for name, _ in store_schema.FIXED),
        ["error", "Error", "ERROR"],
        ["std", "std <= 5"],
        ["SECONDS", "seconds", "value"],
    ],
    ids=str,
)
def test_values_may_have_any_names(tmp_path: Path, names: list[str]) -> None:
    with Store.create(tmp_path / "trials.db", names, {}) as made:
        one = some_trials(1)
        values = np.arange(float(len(names)))[None]
        made.add(replace(one, values=values, std=values + 10))
    with Store.open(tmp_path / "trials.db") as opened:
        np.testing.assert_array_equal(opened.trials().values, values)
        np.testing.assert_array_equal(opened.trials().std, values + 10)
        assert opened.trials().seconds.tolist() == one.seconds.tolist()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one" * 99])
def test_what_is_no_store(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "trials.db"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"trials\.db: cannot be read"):
        Store.open(file)
    assert file.read_bytes() == content


def test_a_missing_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        Store.open(tmp_path / "trials.db")
    assert not list(tmp_path.iterdir())


def test_a_truncated_store(store: Store) -> None:
    for seed in range(20):
        store.add(some_trials(50, seed))
    store.close()
    content = store.path.read_bytes()
    store.path.write_bytes(content[: len(content) // 3 // 4096 * 4096])
    with pytest.raises(InvalidInput, match="cannot be read"), Store.open(store.path) as cut:
        cut.trials()


def test_a_store_of_another_version(store: Store) -> None:
    store.set_meta("version", "99")
    with pytest.raises(InvalidInput, match="expected store version 1, found 99"):
        Store.open(store.path)


def test_what_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a log or a lock beside it, which a folder on read-only media could not hold."""
    file = tmp_path / "trials.db"
    with Store.create(file, MEASURED, {}) as made:
        made.add(some_trials(5))
    assert [path.name for path in tmp_path.iterdir()] == ["trials.db"]
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with Store.open(file) as store:
        assert_same(store.trials(), some_trials(5))
        assert [path.name for path in tmp_path.iterdir()] == ["trials.db"]
        with pytest.raises(InvalidInput):
            store.add(some_trials(1))


def test_trials_that_are_in_the_log_alone_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.create(tmp_path / "trials.db", MEASURED, {}) as made:
        made.add(some_trials(5))
        monkeypatch.setattr("os.access", lambda path, mode: False)
        with Store.open(tmp_path / "trials.db") as store:
            assert_same(store.trials(), some_trials(5))
