from __future__ import annotations

import subprocess
import sys

import hwnas.profiling


def test_it_needs_numpy_and_torch_alone() -> None:
    script = (
        "import sys\n"
        "for name in 'matplotlib moocore pandas pydantic rich safetensors scipy sklearn'.split():\n"
        "    sys.modules[name] = None\n"
        "for name in 'threadpoolctl tiktoken typer yaml'.split(): sys.modules[name] = None\n"
        "import hwnas.profiling as p, hwnas.profiling.survey.survey, hwnas.profiling.device_profiler\n"
        "model = p.GPT(p.models.Architecture.parse('x-1-32-2-1-True'), vocab_size=257)\n"
        "held_out = p.tokens(['some text'], p.tokenizer('bytes'))\n"
        "assert p.perplexity(model, held_out).n_tokens == 10\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names() -> None:
    for name in hwnas.profiling.__all__:
        assert getattr(hwnas.profiling, name).__doc__, name
