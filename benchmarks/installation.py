"""Install wheel and sdist in fresh environments, each extra alone and all; write installation.md.

    python benchmarks/installation.py [--python python3.11 --python python3.12] [--only base bo]

Builds both files from a copy of the committed tree, so that nothing which lies beside it can help.
Each environment gets the newest libraries that setup.cfg allows, as for a user who runs pip
install, runs ``pip check`` and commands that need the extra, and is deleted. Rows of earlier calls
are kept in installation.csv until the same Python and the same extra are measured again. The exit
code is 1 if an environment fails, or if the base is larger than 250 MB.

torch is a CPU build where pip has one for this Python (``--torch`` names a file or a version), else
the build of the package index with CUDA.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
TABLE = HERE / "installation.csv"
MAX_BASE_MB = 250
RUN = "run quickstart --out RUN --no-draw --set seeds=1 --set budget.evaluations=24"
ARCH = "gpt-s-10-192-" + "2-" * 10 + "4-" * 10 + "True"
LLAMA = (
    "space: {family: llama, name: tiny, embed_dim: [32], n_layer: [1], mlp_dim: [64], n_head: [2], "
    "n_kv_head: [1], tied: [true], head_size: 16, context: 64, vocab_size: 257}"
)
TASK = """\
task: letters
dataset_path: json
dataset_kwargs: {data_files: {test: letters.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}]
"""
FILES = {
    "llama.yaml": LLAMA,
    "letters.yaml": TASK,
    "letters.jsonl": '{"question": "Letter:", "choices": [" a", " b"], "answer": 0}\n' * 2,
}
EXPORT = "build tiny-1-32-64-2-1-True --space llama.yaml --out NET"
PROFILE = (
    "run cpu-tiny --out TINY --no-draw --set 'optimizers=[random]' --set budget.evaluations=2 "
    "--set 'backend.rungs=[2]' --set 'backend.training={steps: 5, batch_size: 4}'"
)
# What must work with an extra alone: commands of hwnas, or Python after "python". A command that
# follows "refuse" needs another extra and must say in one line which.
PROBES: dict[str, list[str]] = {
    "base": [
        "--version",
        "list optimizers -v",
        f"query {ARCH} --device h100",
        "front gpt-s perplexity latency@h100 --best 3 --plot",
        "run quickstart --out RUN --set seeds=1 --set budget.evaluations=24 "
        "--set 'optimizers=[random, additive, morea, local_search, uniform]'",
        "report RUN",
        "compare RUN",
        "check random",
    ],
    "pymoo": [f"{RUN} --set 'optimizers=[nsga2, nsga3, moead, smsemoa]'"],
    "bo": [f"{RUN} --set 'optimizers=[ehvi, parego, lsbo, rsbo]'"],
    "optuna": [f"{RUN} --set 'optimizers=[motpe]'", "export RUN --to optuna"],
    "syne-tune": [f"{RUN} --set 'optimizers=[moasha]'"],
    "profile": [PROFILE, f"build {ARCH} --out NET"],
    "data": ["python import datasets, tokenizers, hwnas"],
    "export": [f"refuse {EXPORT} --format transformers", "python import transformers, gguf, onnx"],
    "ray": [f"{RUN} --set 'optimizers=[random]' --executor '{{type: ray, workers: 1}}'"],
    "web": ["python import hwnas.explorer.app", "explore --help"],
    "fit": ["python import catboost, hwnas"],
    "parquet": [f"{RUN} --set 'optimizers=[random]'", "export RUN --to parquet --out T.parquet"],
    "eval": [f"{EXPORT}-task --tokenizer bytes", "evaluate NET-task --tasks letters.yaml"],
    # A logger that fails costs no run, so what it has written is looked for.
    "mlflow": [
        f"{RUN} --set 'optimizers=[random]' --set 'loggers=[mlflow]'",
        "python \"import glob; assert glob.glob('mlruns/*/artifacts/front.csv')\"",
    ],
    "wandb": [
        f"{RUN} --set 'optimizers=[random]' --set 'loggers=[wandb]'",
        "python \"import glob; assert glob.glob('wandb/offline-run-*/*.wandb')\"",
    ],
    "tensorboard": [
        f"{RUN} --set 'optimizers=[random]' --set 'loggers=[tensorboard]'",
        "python \"import glob; assert glob.glob('RUN/tensorboard/*/seed-0/*tfevents*')\"",
    ],
    "docs": ["python import mkdocs, material, mkdocstrings_handlers.python"],
    "dev": [
        f"{RUN} --set 'optimizers=[nsga2, motpe, gp]'",
        "python import pytest, xdist, hypothesis, mypy, statsmodels, jsonschema",
    ],
}
LOGGERS = ("mlflow", "wandb", "tensorboard")
TORCH = ("bo", "profile", "eval", "dev", "all")  # extras that bring it


@dataclass
class Row:
    """Outcome of one environment."""

    python: str
    source: str  # wheel or sdist
    extra: str
    packages: int
    megabytes: float
    seconds: float  # of pip install
    outcome: str  # "works", or what failed


def all_probes(extra: str) -> list[str]:
    """Return the commands that must work with an extra."""
    if extra != "all":
        return PROBES[extra]
    names = "nsga2, nsga3, moead, smsemoa, ehvi, parego, lsbo, rsbo, motpe, gp, moasha, auto"
    return [
        f"{RUN} --set 'optimizers=[{names}]'",
        *PROBES["profile"],
        *(f"{EXPORT}-{kind} --format {kind}" for kind in ("transformers", "onnx", "gguf")),
        *PROBES["data"],
        *PROBES["web"],
        "export RUN --to optuna",
        "export RUN --to parquet --out T.parquet",
        f"resume RUN --no-draw --set 'loggers=[{', '.join(LOGGERS)}]'",
        *(PROBES[name][-1] for name in LOGGERS),
        *PROBES["eval"],
    ]


def build_files(folder: Path) -> tuple[Path, Path]:
    """Build wheel and sdist of the committed tree, and return them."""
    tree = folder / "tree"
    tree.mkdir()
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "build")], check=True)
    python = str(folder / "build" / "bin" / "python")
    pip(python, "install", "--quiet", "build")
    out = folder / "dist"
    command = [python, "-m", "build", "--outdir", str(out), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def pip(python: str, *arguments: str) -> str:
    """Run pip, and return what it printed; of an error the last line is the message."""
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise RuntimeError(f"pip {arguments[0]}: {lines[-1] if lines else done.returncode}")
    return done.stdout


def measure(python: str, file: Path, extra: str, torch: str | None, folder: Path) -> Row:
    """Install a file with an extra in a fresh environment, try it, and return what came of it."""
    version = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    source = "wheel" if file.suffix == ".whl" else "sdist"
    row = Row(version, source, extra, 0, 0.0, 0.0, "works")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        environment, work = Path(name, "env"), Path(name, "work")
        work.mkdir()
        subprocess.run([python, "-m", "venv", str(environment)], check=True)
        inside = str(environment / "bin" / "python")
        wanted = str(file) if extra == "base" else f"{file}[{extra}]"
        start = time.perf_counter()
        try:
            pip(
                inside,
                "install",
                "--quiet",
                wanted,
                *([torch] if torch and extra in TORCH else []),
            )
            row.seconds = round(time.perf_counter() - start, 1)
            pip(inside, "check")
            names = pip(inside, "list", "--format", "freeze").splitlines()
            row.packages = len([name for name in names if not name.startswith("pip==")])
            row.megabytes = round(size_of(environment / "lib") / 1e6, 1)
            for file_name, text in FILES.items():
                (work / file_name).write_text(text, encoding="utf-8")
            for probe in all_probes(extra):
                try_command(environment / "bin", probe, work)
        except RuntimeError as error:
            row.outcome = str(error)
    return row


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, without pip's own."""
    paths = [p for p in folder.rglob("*") if "pip" not in p.relative_to(folder).parts[2:3]]
    return sum(path.lstat().st_size for path in paths if path.is_file())


def try_command(programs: Path, probe: str, work: Path) -> None:
    """Run a command that must succeed, or must be refused in one line.

    Raises
    ------
    RuntimeError
        It does not; with the command and the last line that it printed.
    """
    words = shlex.split(probe)
    is_refused = words[0] == "refuse"
    words = words[is_refused:]
    if words[0] == "python":
        command = [str(programs / "python"), "-c", " ".join(words[1:])]
    else:
        command = [str(programs / "hwnas"), *words]
    # Of the machine's own settings only the search path of programs counts.
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(work)}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    if done.returncode != (2 if is_refused else 0):
        last = lines[-1] if lines else f"exit code {done.returncode}"
        raise RuntimeError(f"{' '.join(words[:2])}: {last}")
    if is_refused and not (len(lines) == 1 and "pip install" in lines[0]):
        raise RuntimeError(f"{' '.join(words[:2])}: no line that names the extra")


def read_rows() -> list[Row]:
    """Return the rows of earlier calls."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {field.name: field.type for field in fields(Row)}
    convert = {"int": int, "float": float, "str": str}
    return [Row(**{k: convert[str(kinds[k])](v) for k, v in row.items()}) for row in rows]


def write_rows(rows: Sequence[Row]) -> None:
    """Write the table and the page."""
    order = [*PROBES, "all"]
    rows = sorted(rows, key=lambda row: (row.python, row.source == "sdist", order.index(row.extra)))
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))
    lines = [PAGE.format(machine=f"{platform.machine()}, {os.cpu_count()} cores", max=MAX_BASE_MB)]
    lines += [
        f"| {row.python} | {row.source} | `{row.extra}` | {row.packages} | {row.megabytes:,.0f} | "
        f"{row.seconds:.0f} | {row.outcome} |"
        for row in rows
    ]
    (HERE / "installation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


PAGE = """\
# Fresh installations

    python benchmarks/installation.py --python python3.11 --python python3.12 --python python3.13
    python benchmarks/installation.py --torch torch==2.13.0+cpu    # CPU builds of torch

Wheel and sdist of the committed tree, each in an environment of its own with the newest libraries
that setup.cfg allows. `works`: pip installs it, `pip check` finds no conflict, and commands that
need the extra do what they say; `export` alone must name the extra that it lacks. MB are those of
all installed files, bytecode included, without pip's own. {machine};
seconds depend on the network, on pip's cache and on what else runs.
Wanted: all work, and the base has at most {max} MB.

| Python | file | extra | packages | MB | seconds | outcome |
|---|---|---|---:|---:|---:|---|"""


def main() -> int:
    """Measure the environments that the command line names, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="interpreters [this one]")
    parser.add_argument("--only", nargs="+", help="extras [all]", metavar="EXTRA")
    parser.add_argument(
        "--torch", help="what pip shall install as torch, such as torch==2.13.0+cpu"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="installation-") as name:
        folder = Path(name)
        wheel, sdist = build_files(folder)
        new: list[Row] = []
        for python in arguments.python or [sys.executable]:
            wanted = arguments.only or [*PROBES, "all"]
            jobs = [(wheel, extra) for extra in wanted]
            jobs += [(sdist, "base")] * ("base" in wanted)
            for file, extra in jobs:
                row = measure(python, file, extra, arguments.torch, folder)
                print(row, flush=True)
                new.append(row)
                keys = {(r.python, r.source, r.extra) for r in new}
                old = [r for r in read_rows() if (r.python, r.source, r.extra) not in keys]
                write_rows([*old, *new])
    is_small = all(row.megabytes <= MAX_BASE_MB for row in new if row.extra == "base")
    return int(not is_small or any(row.outcome != "works" for row in new))


if __name__ == "__main__":
    sys.exit(main())
