"""Bad input that is no file's content: links, rights, encodings; and odd input that is welcome."""

from __future__ import annotations

import builtins
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwnas

sys.path.insert(0, str(Path(__file__).parent))
from bad_architectures import GPT
from bad_case import check_refused, run_command, snapshot
from bad_experiments import GOOD
from bad_tables import EXPERIMENT as TABLE_EXPERIMENT
from bad_tables import GOOD as GOOD_TABLE

RUN = ("run", "x.yaml", "--out", "out", "--no-draw", "--quiet")
TEXT = "".join(f"{key}: {value}\n" for key, value in GOOD.items())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finished(folder: Path) -> Path:
    return hwnas.run(yaml.safe_load(TEXT), folder / "run", draw=False).path


# -- welcome ---------------------------------------------------------------------------------------

MERGED = f"base: &base {{space: gpt-s, budget: {{evaluations: 10}}}}\n{TEXT}"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode().rstrip(b"\n"),
        b"---\n" + TEXT.encode() + b"...\n",
        b"# a comment\n" + TEXT.encode(),
        json.dumps(yaml.safe_load(TEXT)).encode(),
        TEXT.replace("seeds: 1", f"seeds: [{2**63 - 1}]").encode(),
        TEXT.replace("name: good", "name: " + "n" * 200).encode(),
    ],
)
def test_experiments_of_other_systems_run(content: bytes) -> None:
    Path("x.yaml").write_bytes(content)
    outcome = run_command(*RUN)
    assert (outcome.code, outcome.err) == (0, "")
    assert Path("out/summary.csv").is_file()


def test_merge_keys_of_an_experiment() -> None:
    entry = "&small {type: nsga2, name: small, pop_size: 4}"
    entries = f"[{entry}, {{<<: *small, name: large, pop_size: 8}}]"
    Path("x.yaml").write_text(TEXT.replace("[random]", entries))
    assert run_command(*RUN).code == 0
    written = yaml.safe_load(Path("out/experiment.yaml").read_text())
    assert [(o["type"], o["name"], o["pop_size"]) for o in written["optimizers"]] == [
        ("nsga2", "small", 4),
        ("nsga2", "large", 8),
    ]


@pytest.mark.parametrize(
    "content",
    [
        GOOD_TABLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + GOOD_TABLE.encode(),
        GOOD_TABLE.replace(",", " , ").encode(),
        GOOD_TABLE.replace("0.1", '"0.1"').encode(),
        (GOOD_TABLE + "\n\n").encode(),
        GOOD_TABLE.rstrip("\n").encode(),
        GOOD_TABLE.replace("\n", ",<b>note</b>\n").replace("<b>note</b>", "note", 1).encode(),
    ],
)
def test_tables_of_other_systems_are_read(content: bytes) -> None:
    Path("x.yaml").write_bytes(TABLE_EXPERIMENT)
    Path("bad.csv").write_bytes(content)
    outcome = run_command(*RUN)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    "text",
    [
        f"{GPT}\r\n",
        f"\ufeff{GPT}\n",
        f"\n\n  {GPT}  \n",
        f'"{GPT}"',
        f'arch,note\r\n{GPT},"a\u00fc, <b>"\r\n',
    ],
)
def test_architectures_of_other_systems_are_read(text: str) -> None:
    outcome = run_command("query", "--metric", "params", stdin=text.encode())
    assert (outcome.code, outcome.err) == (0, "")
    assert GPT in outcome.out


# -- links, rights and devices ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "loop"),
        ("run", "x.yaml", "--out", "loop", "--no-draw"),
        ("run", "x.yaml", "--out", "loop/out", "--no-draw"),
        ("run", "x.yaml", "--plugin", "loop"),
        ("run", "x.yaml", "--set", "warm_start=loop"),
        ("resume", "loop"),
        ("report", "loop"),
        ("plot", "loop"),
        ("compare", "loop"),
        ("check", "./loop"),
        ("query", "x", "--space", "loop.yaml"),
    ],
)
def test_links_to_themselves(folder: Path, arguments: tuple[str, ...]) -> None:
    Path("x.yaml").write_text(TEXT)
    for name in ("loop", "loop.yaml"):
        Path(name).symlink_to(name)
    before = snapshot(folder)
    check_refused(run_command(*arguments), "loop")
    assert snapshot(folder) == before


@pytest.mark.parametrize("file", ["/dev/zero", "/dev/null"])
def test_devices_for_experiments(file: str) -> None:
    check_refused(run_command("run", file), file)


@pytest.mark.parametrize("name", ["x.yaml", "bad.csv", "mine.py"])
def test_files_that_may_not_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Root may read every file: what the system would answer another user is put in its place."""
    Path("x.yaml").write_bytes(TABLE_EXPERIMENT)
    Path("bad.csv").write_text(GOOD_TABLE)
    Path("mine.py").write_text("x = 1")
    before = snapshot(folder)
    with _refused(monkeypatch, lambda path, mode: Path(path).name == name, errno.EACCES):
        outcome = run_command(*RUN, *(["--plugin", name] if name == "mine.py" else []))
    check_refused(outcome, name, "Permission denied")
    assert snapshot(folder) == before


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("is_finished", [True, False])
def test_resume_in_a_directory_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, finished: Path, is_finished: bool, code: int
) -> None:
    if not is_finished:
        shutil.rmtree(finished / "random")
    before = snapshot(folder)
    monkeypatch.setattr(os, "access", lambda path, mode, **options: mode != os.W_OK)

    def no_directory(path: Path, *arguments: Any, **options: Any) -> None:
        if not path.is_dir():
            raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", no_directory)
    with _refused(monkeypatch, lambda path, mode: "r" not in mode, code):
        outcome = run_command("resume", "run", "--no-draw", "--quiet")
    check_refused(outcome, "run", os.strerror(code))
    assert snapshot(folder) == before


@pytest.mark.slow
def test_resume_on_a_read_only_file_system(folder: Path, finished: Path) -> None:
    mount = subprocess.run(
        ["mount", "--bind", "-o", "ro", str(finished), str(finished)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting needs root")
    try:
        check_refused(run_command("resume", "run", "--no-draw"), "run", "Read-only file system")
    finally:
        subprocess.run(["umount", str(finished)], check=True)


class _Context:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        self.monkeypatch.undo()


def _refused(monkeypatch: pytest.MonkeyPatch, matches: Any, code: int) -> _Context:
    """Let opening of the files that match fail within a block."""
    real = builtins.open

    def fail(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | Path) and matches(path, mode):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, mode, *arguments, **options)

    monkeypatch.setattr(builtins, "open", fail)
    monkeypatch.setattr("io.open", fail)
    return _Context(monkeypatch)


# -- what a run holds ------------------------------------------------------------------------------

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "binary": bytes(range(256)),
    "other JSON": b"[1]",
    "deep JSON": b"[" * 100_000,
    "open JSON": b'{"started": ',
    "long number": b'{"seeds": ' + b"9" * 5000 + b"}",
    "wrong types": json.dumps(
        {"metrics": 3, "plugins": [1], "seeds": "x", "versions": None, "extended": {"a": 1}}
    ).encode(),
}


@pytest.mark.parametrize("content", GARBAGE)
def test_what_is_written_anew_may_be_damaged(finished: Path, content: str) -> None:
    """Tables and reports are written anew; the record of the environment serves people alone."""
    tables = ["summary.csv", "random/seed-0/front.csv", "random/seed-0/hypervolume.csv"]
    former = {name: (finished / name).read_bytes() for name in tables}
    for name in (*tables, "environment.json", "report.html"):
        (finished / name).write_bytes(GARBAGE[content])
    for command in (("resume", "run", "--no-draw", "--quiet"), ("report", "run")):
        outcome = run_command(*command)
        assert (outcome.code, outcome.err) == (0, ""), command
    assert {name: (finished / name).read_bytes() for name in tables} == former
    more = run_command("resume", "run", "--no-draw", "--quiet", "--set", "budget.evaluations=12")
    assert (more.code, more.err) == (0, "")


@pytest.mark.parametrize("name", ["seed-0 copy", "seed-0.bak", "seed-00", "Seed-0", "seed-", "x"])
def test_copies_of_a_search_are_no_searches(finished: Path, name: str) -> None:
    shutil.copytree(finished / "random/seed-0", finished / "random" / name)
    former = (finished / "summary.csv").read_bytes()
    outcome = run_command("resume", "run", "--no-draw", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert (finished / "summary.csv").read_bytes() == former


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", bytes(100), b"\x93NUMPY", b"\x80\x04."])
def test_a_damaged_warm_start(folder: Path, finished: Path, content: bytes) -> None:
    experiment = {**yaml.safe_load(TEXT), "warm_start": "run"}
    warm = hwnas.run(experiment, "warm", draw=False).path
    shutil.rmtree(warm / "random")
    (warm / "warm_start.npz").write_bytes(content)
    before = snapshot(folder)
    check_refused(run_command("resume", "warm", "--no-draw"), "warm/warm_start.npz")
    assert snapshot(folder) == before


def test_every_file_of_a_run_is_a_name_that_no_optimizer_may_have(folder: Path) -> None:
    from hwnas.form_errors import RUN_FILES

    Path("x.yaml").write_text(TEXT.replace("[random]", "[{type: random, name: mine}]"))
    assert run_command(*[argument for argument in RUN if argument != "--no-draw"]).code == 0
    assert {path.name for path in Path("out").iterdir()} <= {"mine", *RUN_FILES}


@pytest.mark.parametrize(
    ("reference", "is_warned_of"),
    [
        ("[0, 0]", True),
        ("[-1, -1]", True),
        ("[1e9, 1]", True),
        ("[20, 1e9]", True),
        ("[1e9, 1e9]", False),
        ("[1e300, 100]", False),
    ],
)
def test_a_reference_that_nothing_reaches(reference: str, is_warned_of: bool) -> None:
    Path("x.yaml").write_text(f"{TEXT}reference: {reference}\n")
    outcome = run_command("run", "x.yaml", "--out", "out", "--no-draw")
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.err.splitlines() if "reference" in line]
    assert len(lines) == is_warned_of, outcome.err
    if is_warned_of:
        assert "every hypervolume is 0" in lines[0]
        assert "perplexity" in lines[0]


# -- models ----------------------------------------------------------------------------------------

CHECKPOINTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"weights",
    "zip": b"PK\x05\x06" + bytes(18),
    "pickle": b"\x80\x04cposix\nsystem\n(S'touch ran'\ntR.",
    "pickle of a list": b"\x80\x04]\x94.",
    "binary": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("content", CHECKPOINTS)
def test_damaged_checkpoints(folder: Path, content: str) -> None:
    pytest.importorskip("torch")
    Path("bad.pt").write_bytes(CHECKPOINTS[content])
    before = snapshot(folder)
    small = "name: tiny\nembed_dim: [8]\nn_layer: [1]\nmlp_ratio: [1]\nn_head: [1]\nvocab_size: 16"
    Path("tiny.yaml").write_text(small)
    outcome = run_command(
        *("build", "tiny-1-8-1-1-True", "--space", "tiny.yaml"),
        *("--out", "out", "--checkpoint", "bad.pt"),
    )
    check_refused(outcome, "bad.pt", "expected a checkpoint")
    assert snapshot(folder) == {**before, "tiny.yaml": small.encode()}


SURVEYS: dict[str, tuple[bytes | None, bytes | None]] = {
    "table alone": (b"arch\n", None),
    "no records": (b"arch\n", b""),
    "other records": (b"arch\n", b"[1]\n"),
    "records of numbers": (b"arch\n", b"1\n"),
    "records without settings": (b"arch\n", b'{"number": 1}\n'),
    "settings of a list": (b"arch\n", b'{"asked": [1]}\n'),
    "settings of others": (b"arch\n", b'{"asked": {"count": 9}}\n'),
    "binary records": (b"arch\n", bytes(range(256))),
    "deep records": (b"arch\n", b"[" * 100_000),
    "directory of records": (b"arch\n", None),
}


@pytest.fixture
def survey(folder: Path) -> Any:
    pytest.importorskip("torch")
    Path("tiny.yaml").write_text(
        "name: tiny\nembed_dim: [8]\nn_layer: [1]\nmlp_ratio: [1]\nn_head: [1]\n"
        "vocab_size: 16\ncontext: 8\nhead_size: 4\n"
    )

    def run() -> Any:
        return run_command(
            *("profile", "--space", "tiny.yaml", "--count", "1", "--device", "cpu"),
            *("--batch-size", "1", "--out", "out.csv", "--quiet"),
        )

    return run


@pytest.mark.parametrize("name", SURVEYS)
def test_damaged_surveys(folder: Path, survey: Any, name: str) -> None:
    table, records = SURVEYS[name]
    if table is not None:
        Path("out.csv").write_bytes(table)
    if records is not None:
        Path("out.jsonl").write_bytes(records)
    if name == "directory of records":
        Path("out.jsonl").mkdir()
    before = snapshot(folder)
    check_refused(survey(), "out.")
    assert snapshot(folder) == before
