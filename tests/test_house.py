"""The house keeps its shape: imports run one way, light commands stay light, names exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hwnas

ROOT = Path(__file__).resolve().parents[1]

# A module imports only from floors below its own.
FLOORS = [
    {"deprecation", "errors", "plugin_source", "typing"},
    {"distributions", "files"},
    {
        "fault_location",
        "form_errors",
        "function_source",
        "history",
        "setting_checks",
        "yaml_loader",
        "pareto",
        "statistics",
    },
    {"hypervolume_improvement", "spaces"},
    {"objectives", "additive", "observations", "related_trials", "sampling", "workloads"},
    {"fronts", "measured_metrics"},
    {"metric_errors"},
    {"optimizers", "backends", "loggers"},
    {"surrogates", "problems"},
    {"devices"},
    {"profiling"},
    {"registry", "shrinking"},
    {"plugin_files"},
    {"foreign_code", "form_schemas", "shipped_experiments", "sweeps"},
    {"experiment", "testing"},
    {"problem"},
    {"runner"},
    {"reports", "exports", "explorer"},
    {"api", "compat", "fitting"},
    {"minimization", "reproductions", "sweep_runs"},
    {"cli"},
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
MAX_LINES = 400  # of a module
PLUGINS_MAY_USE = {
    "additive", "errors", "history", "hypervolume_improvement", "optimizers", "pareto",
    "related_trials", "spaces", "typing",
}  # fmt: skip


def imported(file: Path) -> set[str]:
    """Modules of hwnas that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "hwnas":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwnas."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("hwnas.")}
    return found


def module_files() -> list[Path]:
    files = sorted((ROOT / "hwnas").rglob("*.py"))
    return [file for file in files if file != ROOT / "hwnas" / "__init__.py"]


@pytest.mark.parametrize("file", module_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    name = file.relative_to(ROOT / "hwnas").parts[0].removesuffix(".py")
    assert name in FLOOR, f"give {name} a floor"
    for other in imported(file) - {name}:
        assert FLOOR[other] < FLOOR[name], f"{name} imports {other}"


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(file: Path, modules: set[str]) -> set[str]:
    """Modules of hwnas that a file imports, for type checking too; deferred imports included."""
    imports = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # A package whose submodules are imported is not itself what is used.
            imports |= names & modules or {node.module}
    return imports & modules - {module_name(file)}


def test_no_module_imports_itself_in_a_circle() -> None:
    modules = {module_name(file): file for file in module_files()}
    graph = {name: imported_modules(file, set(modules)) for name, file in modules.items()}
    # Remove modules that import nothing that is left, until only circles remain.
    while leaves := {name for name, imports in graph.items() if not imports & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert not graph, f"import circle among {sorted(graph)}"


@pytest.mark.parametrize("file", sorted((ROOT / "plugins").glob("*.py")), ids=lambda f: f.name)
def test_plugins_use_the_public_contract_only(file: Path) -> None:
    assert imported(file) <= PLUGINS_MAY_USE


def test_modules_are_short() -> None:
    """A module of more than 400 lines holds more than one idea: split it."""
    files = [file for folder in ("hwnas", "plugins") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    lines = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8").count("\n") for f in files}
    assert not {name: n for name, n in lines.items() if n > MAX_LINES}


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after some code."""
    script = f"{code}\nimport sys\nprint('|'.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.strip().splitlines()[-1].split("|"))


HEAVY = {"torch", "matplotlib", "pandas", "scipy", "sklearn", "pymoo"}


def test_scipy_is_no_part_of_the_base() -> None:
    """It would be almost half of an installation; the extra ``profile`` brings it."""
    files = [*(ROOT / "hwnas").rglob("*.py"), *(ROOT / "plugins").glob("*.py")]
    modules = {file: ast.walk(ast.parse(file.read_text(encoding="utf-8"))) for file in files}
    users = {
        file.parent.name
        for file, nodes in modules.items()
        for node in nodes
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scipy"))
        or (isinstance(node, ast.Import) and any(n.name.startswith("scipy") for n in node.names))
    }
    assert users <= {"shrinking"}


def test_importing_hwnas_loads_nothing() -> None:
    assert not loaded_by("import hwnas") & {*HEAVY, "numpy", "pydantic", "moocore", "yaml"}


def test_spaces_need_numpy_alone() -> None:
    loaded = loaded_by("import hwnas; hwnas.space('gpt-s'); hwnas.Architecture")
    assert "numpy" in loaded
    assert not loaded & {*HEAVY, "pydantic", "moocore", "yaml", "typer"}


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['hwnas', '--help']\nfrom hwnas.cli.main import main\n"
    loaded = loaded_by(code + "try: main()\nexcept SystemExit: pass")
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "numpy", "pydantic"}


@pytest.mark.parametrize("kind", ["optimizers", "backends", "spaces", "metrics", "experiments"])
def test_lists_import_no_libraries_of_plugins(kind: str) -> None:
    code = f"from hwnas.cli.listing import listing; assert listing({kind!r})[1]"
    assert not loaded_by(code) & {"torch", "pymoo", "optuna", "syne_tune", "matplotlib"}


def test_testing_is_reachable_after_importing_hwnas() -> None:
    assert "pytest" not in loaded_by("import hwnas; hwnas.testing.optimizer_checks()")


def test_public_names() -> None:
    assert set(hwnas.__all__) == set(hwnas._HOME_OF)
    assert dir(hwnas) == sorted(hwnas.__all__)
    for name in hwnas.__all__:
        public = getattr(hwnas, name)
        assert public.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hwnas.nothing


def test_every_package_is_listed() -> None:
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    for folder in {file.parent for file in (ROOT / "hwnas").rglob("*.py")}:
        name = ".".join(folder.relative_to(ROOT).parts)
        assert f"\n    {name}\n" in listed
