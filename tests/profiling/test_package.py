from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hwnas.profiling
from hwnas.profiling.export import safetensors


def test_imports_nothing_but_numpy_and_torch() -> None:
    script = (
        "import sys\n"
        "for name in 'matplotlib moocore pandas pydantic rich safetensors scipy sklearn'.split():\n"
        "    sys.modules[name] = None\n"
        "for name in 'threadpoolctl tiktoken typer yaml'.split(): sys.modules[name] = None\n"
        "import hwnas.profiling as p\n"
        "import hwnas.profiling.survey.survey, hwnas.profiling.device_profiler\n"
        "from hwnas.spaces.architecture import Architecture\n"
        "model = p.GPT(Architecture.parse('x-1-32-2-1-True'), vocab_size=257)\n"
        "held_out = p.tokens(['some text'], p.tokenizer('bytes'))\n"
        "assert p.perplexity(model, held_out).n_tokens == 10\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names() -> None:
    for name in hwnas.profiling.__all__:
        assert getattr(hwnas.profiling, name).__doc__, name


def test_former_names() -> None:
    with pytest.warns(DeprecationWarning, match="load is now called load_model"):
        assert hwnas.profiling.load is hwnas.profiling.load_model
    for former, name in (("export", "save_model"), ("load", "load_model")):
        with pytest.warns(DeprecationWarning, match=f"{former} is now called {name}"):
            assert getattr(safetensors, former) is getattr(hwnas.profiling, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hwnas.profiling.nothing


def test_submodules_are_not_hidden_by_functions() -> None:
    for name in ("gpt", "export", "data", "training", "meters"):
        assert isinstance(getattr(hwnas.profiling, name), ModuleType)


def test_example_of_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "profiling.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    progress = names["progress"]
    assert isinstance(progress, hwnas.profiling.Progress)
    assert progress.step == 10


def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    """A command that measures ends in one line where the extra is not installed."""
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a);"
        "sys.modules['torch'] = None; sys.argv = ['hwnas', 'profile', sys.argv[1]];"
        "from hwnas.cli.main import main; sys.exit(main())"
    )
    arch = "gpt-s-10-192" + "-2" * 10 + "-4" * 10 + "-True"
    done = subprocess.run(
        [sys.executable, "-c", code, arch], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == 'hwnas: hwnas.profiling needs torch: pip install "hwnas[profile]"\n'
