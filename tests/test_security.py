"""What files of others cannot do: docs/security.md."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hwnas
from hwnas import registry, yaml_loader
from hwnas.cli.console import echo, print_figures, print_table
from hwnas.errors import ExperimentError, InvalidInput
from hwnas.files import write_text
from hwnas.problems import csv_table
from hwnas.reports.comparison.latex import escape_latex
from hwnas.reports.html.page import write_page
from hwnas.runner import storage, warm_start
from hwnas.runner.environment import (
    allowed_cluster,
    recorded_cluster,
    recorded_plugins,
    update_environment,
)
from hwnas.runner.results import Result
from hwnas.runner.signature import key_file
from hwnas.runner.warm_start import load_warm_start

ROOT = Path(__file__).resolve().parents[1]
CONTENT = {
    "name": "mine",
    "space": "gpt-s",
    "objectives": ["perplexity", "latency@h100"],
    "optimizers": ["random"],
    "budget": {"evaluations": 12},
    "seeds": 1,
}
OWN = """
import hwnas, pathlib
pathlib.Path(__file__).with_name("ran.txt").touch()
from hwnas_plugins.random import Random

@hwnas.register_optimizer("own")
class Own(Random):
    '''Random search.'''
"""

# -- the code --------------------------------------------------------------------------------------

# Calls that run code, or read it, from outside of the program; each has its reason.
ALLOWED = {
    ("hwnas/plugin_files.py", "exec"): "a plugin file that was allowed on the command line",
    ("hwnas/plugin_files.py", "compile"): "the same file",
    ("hwnas/yaml_loader.py", "yaml.load"): "with a subclass of SafeLoader",
    ("hwnas/runner/workers.py", "pickle.loads"): "from the parent, over a pipe of its own",
    ("hwnas/runner/executors/interface.py", "pickle.loads"): "from the parent, over that pipe",
    ("hwnas/testing/space_form.py", "pickle.loads"): "what the same check has just pickled",
}
SUSPECTS = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads"),
    *("marshal.load", "marshal.loads", "shelve.open", "joblib.load", "dill.load", "dill.loads"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pandas.read_pickle", "pd.read_pickle", "tarfile.open", "shutil.unpack_archive"),
}


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Every call in the package and the plugins: file, dotted name and node."""
    found = []
    for folder in ("hwnas", "plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    found.append((str(file.relative_to(ROOT)), ast.unparse(node.func), node))
    return found


def keywords(node: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def test_calls_that_could_run_code_of_files_are_those_on_the_list() -> None:
    found = {(file, name) for file, name, _ in calls() if name in SUSPECTS}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    ("function", "keyword", "value"),
    [
        ("np.load", "allow_pickle", "False"),
        ("np.save", "allow_pickle", "False"),
        ("torch.load", "weights_only", "True"),
    ],
)
def test_arrays_and_weights_are_no_pickles(function: str, keyword: str, value: str) -> None:
    nodes = [node for _, name, node in calls() if name == function]
    assert nodes
    assert all(keywords(node).get(keyword) == value for node in nodes)


def test_no_command_goes_through_a_shell() -> None:
    nodes = [node for _, name, node in calls() if name.startswith("subprocess.")]
    assert nodes
    assert all(keywords(node).get("shell", "False") == "False" for node in nodes)


def test_statements_of_sql_hold_no_values() -> None:
    """A formatted statement contains names of columns alone, which `quoted` has made."""
    formatted = [
        ast.unparse(part.value)
        for _, name, node in calls()
        if name.split(".")[-1] in ("execute", "executemany", "executescript") and node.args
        for part in ast.walk(node.args[0])
        if isinstance(part, ast.FormattedValue)
    ]
    assert set(formatted) <= {"', '.join(columns)", "'NORMAL' if mode == 'wal' else 'FULL'"}


# -- dependencies ----------------------------------------------------------------------------------


def requirements(extra: str) -> Iterator[Requirement]:
    """Requirements of hwnas with an extra, and of what they require, as far as it is installed."""
    queue, seen = [("hwnas", frozenset({extra}))], set()
    while queue:
        name, extras = queue.pop()
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, texts):
            marker = requirement.marker
            environments = [{"extra": e} for e in (*extras, "")]
            if marker is not None and not any(map(marker.evaluate, environments)):
                continue
            key = canonicalize_name(requirement.name), frozenset(requirement.extras)
            if key not in seen:
                seen.add(key)
                queue.append((requirement.name, frozenset(requirement.extras)))
                yield requirement


@pytest.mark.parametrize(
    "extra", ["pymoo", "bo", "optuna", "syne-tune", "profile", "ray", "web", "fit", "dev"]
)
def test_what_is_installed_for_an_extra_is_pinned(extra: str) -> None:
    text = (ROOT / "constraints.txt").read_text()
    pins = {canonicalize_name(name) for name in re.findall(r"(?m)^([\w.-]+)==", text)}
    installed = {canonicalize_name(d.metadata["Name"]) for d in metadata.distributions()}
    # The build of torch decides about its own libraries, which differ by the kind of device.
    not_ours = re.compile(r"hwnas|nvidia-.*|cuda-.*|triton|setuptools|pip|wheel")
    needed = {canonicalize_name(requirement.name) for requirement in requirements(extra)}
    assert needed
    missing = {name for name in (needed & installed) - pins if not not_ours.fullmatch(name)}
    assert not missing, f"constraints.txt lacks {sorted(missing)}"


# -- run directories -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    hwnas.run(CONTENT, path, draw=False)
    return path


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


STORES = {
    "code of another length": "UPDATE trials SET code = x'0102' WHERE trial = 3",
    "code of no member": f"UPDATE trials SET code = x'{'7f' * 27}'",
    "status": "UPDATE trials SET status = x'00'",
    "reason": "UPDATE trials SET reason = x'00'",
    "text as a value": "UPDATE trials SET perplexity = 'abc'",
    "text as a number": "UPDATE trials SET ask = 'abc'",
    "reference": "UPDATE meta SET value = '{}' WHERE key = 'reference'",
    "reference of lists": "UPDATE meta SET value = '[[[' WHERE key = 'reference'",
    "no experiment": "DELETE FROM meta WHERE key = 'experiment'",
    "optimizer elsewhere": "UPDATE meta SET value = '../../x' WHERE key = 'optimizer'",
    "seed elsewhere": "UPDATE meta SET value = '../../x' WHERE key = 'seed'",
    "view": "ALTER TABLE trials RENAME TO t; CREATE VIEW trials AS SELECT * FROM t",
    "trigger": "CREATE TRIGGER z AFTER INSERT ON meta BEGIN DELETE FROM trials; END",
    "virtual table": "CREATE VIRTUAL TABLE words USING fts4(word)",
    "recommendation": "INSERT INTO recommendations VALUES (3, x'0102')",
    "another column": "ALTER TABLE trials ADD COLUMN more REAL",
}


@pytest.mark.parametrize("statement", STORES.values(), ids=STORES)
@pytest.mark.parametrize("use", [Result, hwnas.resume], ids=["read", "resume"])
def test_a_store_of_others_is_refused_in_one_line(
    path: Path, statement: str, use: Callable[[Path], object]
) -> None:
    with sqlite3.connect(path / "random/seed-0/trials.db") as database:
        database.executescript(statement)
        database.execute("DELETE FROM meta WHERE key = 'finished'")
    database.close()
    with pytest.raises(InvalidInput) as refused:
        use(path)
    assert "\n" not in str(refused.value)


LINKS = ["random", "random/seed-0", "random/seed-0/trials.db", "random/seed-0/trials.db-wal",
         "random/seed-0/measurements.jsonl", "random/seed-0/checkpoints"]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("use", [Result, hwnas.resume], ids=["read", "resume"])
def test_a_link_out_of_a_run_is_not_followed(
    path: Path, name: str, use: Callable[[Path], object]
) -> None:
    outside = path.parent / "outside"
    if (path / name).exists():
        shutil.move(path / name, outside)
    else:
        outside.write_text("mine")
    before = contents(outside)
    (path / name).symlink_to(outside)
    with pytest.raises(InvalidInput, match="is a link"):
        use(path)
    assert contents(outside) == before


def contents(path: Path) -> dict[str, bytes]:
    """Content by name of a file, or of all files of a directory."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return {str(file): file.read_bytes() for file in files}


def test_a_link_in_place_of_a_result_is_replaced(path: Path) -> None:
    outside = path.parent / "outside.txt"
    outside.write_text("mine")
    for file in (path / "summary.csv", path / "report.html"):
        file.unlink(missing_ok=True)
        file.symlink_to(outside)
    result = Result(path)
    result.write()
    write_page(result)
    assert outside.read_text() == "mine"
    assert not (path / "summary.csv").is_symlink()


def test_plots_are_drawn_in_no_link(path: Path) -> None:
    outside = path.parent / "outside"
    outside.mkdir()
    (path / "plots").symlink_to(outside)
    with pytest.warns(hwnas.errors.DrawingFailed, match="is a link, expected a directory"):
        hwnas.resume(path)
    assert not [*outside.iterdir()]


def test_a_link_by_the_name_of_a_draft_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (tmp_path / f".x.csv.{os.getpid()}.part").symlink_to(outside)
    write_text(tmp_path / "x.csv", "ours")
    assert (outside.read_text(), (tmp_path / "x.csv").read_text()) == ("mine", "ours")


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/tmp/x", "", ".", "x\n", "a\0b"])
def test_names_of_optimizers_stay_in_the_run(tmp_path: Path, name: str) -> None:
    content = {**CONTENT, "optimizers": [{"type": "random", "name": name}]}
    with pytest.raises(ExperimentError, match=r"optimizers\[0\]"):
        hwnas.run(content, tmp_path / "run")
    assert not [*tmp_path.iterdir()]


# -- code of others --------------------------------------------------------------------------------


def with_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """An unfinished run of a plugin file that has been allowed, as another process sees it."""
    plugin, path = tmp_path / "own.py", tmp_path / "run"
    plugin.write_text(OWN)
    content = {**CONTENT, "optimizers": ["own"], "plugins": [str(plugin)]}
    hwnas.run(content, path, allow_plugins=True, draw=False)
    with sqlite3.connect(path / "own/seed-0/trials.db") as database:
        database.execute("DELETE FROM meta WHERE key = 'finished'")
    database.close()
    monkeypatch.setattr("hwnas.plugin_files._loaded", {})
    registry.replace_registered({})
    (tmp_path / "ran.txt").unlink()
    return path, plugin


def test_leave_to_run_code_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, plugin = with_plugin(tmp_path, monkeypatch)
    assert [*recorded_plugins(path)] == [str(plugin)]
    # Of another user, who has another key.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert recorded_plugins(path) == {}
    with pytest.raises(ExperimentError, match=r"own\.py runs code of others; read it"):
        hwnas.resume(path, draw=False)
    assert not (tmp_path / "ran.txt").exists()
    # Once allowed, it is this user's.
    hwnas.resume(path, allow_plugins=True, draw=False)
    assert [*recorded_plugins(path)] == [str(plugin)]
    assert key_file().stat().st_mode & 0o077 == 0


def test_a_record_allows_no_other_file_and_no_other_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = with_plugin(tmp_path, monkeypatch)
    file = path / "environment.json"
    record = json.loads(file.read_text())
    evil = tmp_path / "evil.py"
    evil.write_text(OWN)
    sha256 = hashlib.sha256(evil.read_bytes()).hexdigest()
    record["plugins"][str(evil)] = record["allowed"]["files"][str(evil)] = sha256
    file.write_text(json.dumps(record))
    assert recorded_plugins(path) == {}
    del record["allowed"]["files"][str(evil)]
    file.write_text(json.dumps(record))
    assert recorded_plugins(path) != {}
    yaml = (path / "experiment.yaml").read_text()
    changed = yaml.replace("type: surrogate", "type: python\n  function: os:system")
    assert changed != yaml
    (path / "experiment.yaml").write_text(changed)
    assert recorded_plugins(path) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["run", "x.yaml"], ["check", "x.yaml"]),
        *([name, "run"] for name in ("report", "plot", "compare", "resume")),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_run_no_code_that_was_not_allowed(path: Path, arguments: list[str]) -> None:
    """In a directory that has a module of the function's name, and lists a plugin file."""
    folder = path.parent
    (folder / "own.py").write_text(OWN)
    text = (path / "experiment.yaml").read_text()
    assert "plugins: []" in text
    for file in (path / "experiment.yaml", folder / "x.yaml"):
        file.write_text(text.replace("plugins: []", f"plugins: [{folder}/own.py]"))
    with sqlite3.connect(path / "random/seed-0/trials.db") as database:
        listed = (path / "experiment.yaml").read_text()
        database.execute("UPDATE meta SET value = ? WHERE key = 'experiment'", (listed,))
        database.execute("DELETE FROM meta WHERE key = 'finished'")
    database.close()
    command = [Path(sys.executable).with_name("hwnas"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 2), done.stderr
    assert not (folder / "ran.txt").exists()


def with_cluster(path: Path, executor: str) -> Path:
    """Set the executor in the experiment of a run, and make the run unfinished."""
    file = path / "experiment.yaml"
    file.write_text(file.read_text() + f"executor: {executor}\n")
    with sqlite3.connect(path / "random/seed-0/trials.db") as database:
        database.execute("DELETE FROM meta WHERE key = 'finished'")
    database.close()
    return file


@pytest.mark.parametrize("address", ["192.0.2.1:6379", "auto"])
def test_a_cluster_of_an_experiment_is_joined_by_leave_alone(path: Path, address: str) -> None:
    file = with_cluster(path, f"{{type: ray, address: {address}, workers: 0}}")
    refusal = rf"executor\.address: whoever runs the cluster '{address}' can run code here"
    for use in (hwnas.run, hwnas.resume):
        source = file if use is hwnas.run else path
        for overrides in ({}, {"executor.workers": 0}):
            with pytest.raises(ExperimentError, match=refusal):
                use(source, overrides=overrides)
        # With leave it gets as far as the setting that is wrong.
        for leave in (
            {"allow_plugins": True},
            {"overrides": {"executor.address": address}},
            {"overrides": {"executor": {"type": "ray", "address": address, "workers": 0}}},
        ):
            with pytest.raises(ExperimentError, match="workers: expected at least 1"):
                use(source, **leave)
    with pytest.raises(ExperimentError, match="workers: expected at least 1"):
        hwnas.run(yaml_loader.read_yaml(file))


def test_the_record_of_a_cluster_allows_that_address_of_that_user_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_cluster(path, "{type: ray, address: 'host:1', workers: 0}")
    update_environment(path, allowed_cluster({"address": "host:1"}))
    with pytest.raises(ExperimentError, match="workers: expected at least 1"):
        hwnas.resume(path)
    file = path / "experiment.yaml"
    file.write_text(file.read_text().replace("host:1", "host:2"))
    with pytest.raises(ExperimentError, match="whoever runs the cluster 'host:2'"):
        hwnas.resume(path)
    assert recorded_cluster(path) == "host:1"
    # Of another user, who has another key.
    monkeypatch.setenv("XDG_STATE_HOME", str(path / "other"))
    assert recorded_cluster(path) is None


# -- sizes -----------------------------------------------------------------------------------------


def test_a_table_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table, "MAX_MB", 1)
    file = tmp_path / "table.csv"
    file.write_bytes(b"a,b\n" + b"1,2\n" * 300_000)
    with pytest.raises(InvalidInput, match=r"table\.csv: cannot be read: larger than 1 MB"):
        csv_table.read_csv(file)
    with pytest.raises(InvalidInput, match="larger than 1 MB"):
        csv_table.read_csv(Path("/dev/zero"))  # endless


def test_a_yaml_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_loader, "MAX_MB", 1)
    file = tmp_path / "x.yaml"
    file.write_text("name: x\n" + "# more\n" * 200_000)
    with pytest.raises(InvalidInput, match=r"x\.yaml: cannot be read: larger than 1 MB"):
        hwnas.run(file)
    with pytest.raises(InvalidInput, match="larger than 1 MB"):
        yaml_loader.parse_yaml(file.read_bytes())


def test_a_store_that_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_GB", 0)
    with pytest.raises(InvalidInput, match="is larger than 0 GB"):
        Result(path)


def npz(file: Path, **arrays: object) -> Path:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file


def bomb(file: Path) -> Path:
    """Write an npz of kilobytes with an array of megabytes."""
    zeros = np.zeros((1000, 4000), dtype=np.int8)
    return npz(file, codes=zeros, values=zeros.astype(float), std=zeros.astype(float))


def pickled(file: Path) -> Path:
    return npz(file, codes=np.array([print], dtype=object), values=np.zeros(1), std=np.zeros(1))


def huge_header(file: Path) -> Path:
    """Write an npz whose header promises more than there is."""
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (1000000000000000000,), }"
    header = header.ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w") as archive:
        data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("codes.npy", data)
    return file


def damaged(file: Path) -> Path:
    file.write_bytes(b"PK\x03\x04 and so on")
    return file


def other_form(file: Path) -> Path:
    return npz(file, codes=np.zeros(3), values=np.zeros((3, 2)), std=np.zeros((3, 2)))


@pytest.mark.parametrize("make", [bomb, pickled, huge_header, damaged, other_form])
def test_a_warm_start_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr(warm_start, "MAX_MB", 20)
    with pytest.raises(InvalidInput, match=r"warm\.npz: cannot be read as a warm start"):
        load_warm_start(make(tmp_path / "warm.npz"))


# -- what is shown ---------------------------------------------------------------------------------

HOSTILE = "\033]0;title\a\033[2J\r\u202e</script><img src=x onerror=alert(1)>$\\input{x}"


@pytest.mark.parametrize(
    "show",
    [
        echo,
        lambda text: print_table([text], [[text]]),
        lambda text: print_figures([text], [[text]], "table"),
        lambda text: print_figures([text], [[text]], "json"),
    ],
    ids=["line", "table", "figures", "json"],
)
def test_a_terminal_gets_no_control_characters(
    capsys: pytest.CaptureFixture[str], show: Callable[[str], None]
) -> None:
    show(HOSTILE)
    out = capsys.readouterr().out
    assert "title" in out
    assert set(re.findall(r"[^ -~]", out)) <= {"\n"}


def test_commands_print_by_that_way_alone() -> None:
    places = {(f, name) for f, name, _ in calls() if name in ("typer.echo", "click.echo", "print")}
    # Errors and warnings of main.py are made one printable line by `one_line`.
    assert {f for f, _ in places if f.startswith("hwnas/cli/")} == {
        "hwnas/cli/console.py",
        "hwnas/cli/main.py",
    }


def test_a_report_shows_texts_as_texts(path: Path) -> None:
    with sqlite3.connect(path / "random/seed-0/trials.db") as database:
        database.execute(
            "UPDATE trials SET status = 'failed', reason = ?, perplexity = NULL WHERE trial = 3",
            (HOSTILE,),
        )
    database.close()
    page = write_page(Result(path)).read_text()
    assert "onerror=alert(1)" in page
    assert "<img" not in page
    # The page's own script makes text nodes, never markup.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", page)


def test_latex_gets_no_command() -> None:
    """Every special character becomes a command of LaTeX's own, or one in math mode."""
    text = "\\input{x} $a_b^c$ #1 & ~ %"
    expected = r"\textbackslash{}input\{x\} \$a\_b\textasciicircum{}c\$ \#1 \& \textasciitilde{} \%"
    assert escape_latex(text) == expected
