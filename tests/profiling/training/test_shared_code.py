"""Code of parts that networks share: equal losses, one compilation for each shape."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

import hwnas
from hwnas.errors import InvalidInput
from hwnas.profiling import Tokens, TrainingSettings, tokenizer, tokens, train
from hwnas.profiling.language_model import build_model
from hwnas.profiling.training import compile_pool, parts, shared_code
from hwnas.profiling.training.compile_pool import CompilePool
from hwnas.profiling.training.config import autocast
from hwnas.profiling.training.parts import Part, parts_of
from hwnas.profiling.training.shared_code import SharedCode
from hwnas.spaces import LanguageModelSpace

SETTINGS = TrainingSettings(steps=4, batch_size=4, learning_rate=1e-2, compile="blocks")
SIZES = {"head_size": 16, "context": 16, "vocab_size": 257}
SPACES = {
    "gpt": {
        "name": "tiny",
        "embed_dim": [16, 32],
        "n_layer": [2, 3],
        "mlp_ratio": [1, 2],
        "n_head": [1, 2],
        "bias": [True, False],
        **SIZES,
    },
    "llama": {
        "family": "llama",
        "name": "tiny-llama",
        "embed_dim": [32],
        "n_layer": [2],
        "mlp_dim": [0, 32],
        "n_head": [2, 4],
        "n_kv_head": [1, 2],
        "tied": [True, False],
        **SIZES,
    },
}


@pytest.fixture(scope="module")
def corpus() -> Tokens:
    return tokens(["some text to train on " * 50], tokenizer("bytes"))


@pytest.fixture
def code(tmp_path: Path) -> SharedCode:
    """Code that torch traces, and that runs without a compiler."""
    torch.compiler.reset()
    return SharedCode(tmp_path, backend="eager")


def sample(family: str, count: int) -> tuple[LanguageModelSpace, list[object]]:
    space = hwnas.space(SPACES[family])
    assert isinstance(space, LanguageModelSpace)
    return space, space.decode(space.sample(count, np.random.default_rng(1)))


@pytest.mark.parametrize(("family", "precision"), [("gpt", "bfloat16"), ("llama", "float32")])
def test_losses_equal_those_of_uncompiled_code(
    corpus: Tokens, code: SharedCode, family: str, precision: str
) -> None:
    space, archs = sample(family, 1)
    code.backend = "aot_eager"  # forward and backward pass are traced
    settings = replace(SETTINGS, precision=precision, accumulate=2)  # type: ignore[arg-type]
    for arch in archs:
        losses: list[list[float]] = []
        for compiled in ("off", "blocks"):
            model, seen = build_model(space, arch), list[float]()
            train(
                model,
                corpus,
                replace(settings, compile=compiled),  # type: ignore[arg-type]
                code=code,
                report=lambda progress, seen=seen: seen.append(progress.loss),
                report_every=1,
            )
            losses.append(seen)
        assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "bfloat16" else 1e-5)
        assert all("forward" not in vars(block) for block in model.blocks)


def test_each_shape_is_compiled_once(corpus: Tokens, code: SharedCode) -> None:
    """More networks and layers than the number of recompilations that torch allows."""
    space, archs = sample("gpt", 8)
    counters.clear()
    keys: set[str] = set()
    for arch in archs:
        model = build_model(space, arch)
        keys |= {part.key for part in parts_of(model, SETTINGS, model.device)}
        train(model, corpus, replace(SETTINGS, steps=1), code=code)
    assert len(keys) > torch._dynamo.config.recompile_limit
    assert counters["stats"]["unique_graphs"] == len(keys)
    assert set(code.functions) == keys


def test_code_is_no_part_of_a_checkpoint(tmp_path: Path, corpus: Tokens, code: SharedCode) -> None:
    space, (arch,) = sample("gpt", 1)
    file = tmp_path / "c.pt"
    train(build_model(space, arch), corpus, SETTINGS, until=2, checkpoint=file, code=code)
    continued = train(
        build_model(space, arch), corpus, replace(SETTINGS, compile="off"), checkpoint=file
    )
    whole = train(build_model(space, arch), corpus, replace(SETTINGS, compile="off"))
    assert continued.step == 4
    assert continued.loss == pytest.approx(whole.loss, rel=1e-5)


def test_an_error_restores_the_model(corpus: Tokens, code: SharedCode) -> None:
    space, (arch,) = sample("gpt", 1)
    model = build_model(space, arch)

    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    variables = dict(os.environ)
    with pytest.raises(KeyboardInterrupt):
        train(model, corpus, SETTINGS, code=code, report=stop, report_every=1)
    assert all("forward" not in vars(block) for block in model.blocks)
    assert {**os.environ} == variables


def test_a_model_without_blocks_is_refused(corpus: Tokens, code: SharedCode) -> None:
    space, (arch,) = sample("gpt", 1)
    model = build_model(space, arch)
    del model.cos
    with pytest.raises(InvalidInput, match="compile: blocks: models of gpt have no blocks"):
        train(model, corpus, SETTINGS, code=code)


def test_a_part_survives_json() -> None:
    space, (arch,) = sample("llama", 1)
    parts = parts_of(build_model(space, arch, device="meta"), SETTINGS, torch.device("cpu"))
    for part in parts:
        again = Part.from_json(part.to_json())
        assert again == part
        assert again.key == part.key
    other = parts_of(
        build_model(space, arch, device="meta"),
        replace(SETTINGS, accumulate=2),
        torch.device("cpu"),
    )
    assert not {part.key for part in parts} & {part.key for part in other}


# -- worker processes ------------------------------------------------------------------------------

WORKER = """
import json, sys
for line in sys.stdin:
    layer = json.loads(line)["layer"]
    if layer == 1:
        sys.exit()
    print("NoCompiler: none" if layer == 0 else "", flush=True)
"""


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CompilePool]:
    """Pool of one process that compiles nothing, fails for layer 0 and ends at layer 1."""
    (tmp_path / "worker_of_test.py").write_text(WORKER)
    monkeypatch.setattr(compile_pool, "_MODULE", "worker_of_test")
    pool = CompilePool(1, {"PYTHONPATH": str(tmp_path)})
    yield pool
    pool.close()


def three_parts() -> list[Part]:
    space = hwnas.space({**SPACES["gpt"], "n_layer": [2], "mlp_ratio": [1, 2, 4]})
    assert isinstance(space, LanguageModelSpace)
    arch = space.parse("tiny-2-32-1-2-1-2-True")
    return parts_of(build_model(space, arch, device="meta"), SETTINGS, torch.device("cpu"))


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_of_a_worker(pool: CompilePool) -> None:
    first, second, output = three_parts()
    pool.submit([output, first], priority=0)
    pool.submit([second], priority=1)
    pool.submit([second], priority=1)  # it is there already
    assert not pool.is_busy
    pool.resume()
    wait_for(lambda: len(pool.given_up) == 2)
    assert pool.compiled == {output.key}
    assert pool.failed == {
        first.key: "NoCompiler: none",
        second.key: "the process that compiled it ended",
    }
    assert not pool.is_busy


def test_a_closed_pool_continues_later(
    pool: CompilePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sleeper_of_test.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(compile_pool, "_MODULE", "sleeper_of_test")
    *_, output = three_parts()
    pool.submit([output], priority=0)
    pool.resume()
    wait_for(lambda: pool._queue.empty())
    pool.close()
    wait_for(lambda: not pool._queue.empty())
    assert not pool.failed
    monkeypatch.setattr(compile_pool, "_MODULE", "worker_of_test")
    pool.resume()
    wait_for(lambda: pool.compiled == {output.key})


def test_a_paused_pool_is_stopped_and_ends_with_its_parent(pool: CompilePool) -> None:
    pool.resume()
    process = pool._processes[0]
    pool.pause()
    state = Path(f"/proc/{process.pid}/stat")
    if not state.exists():
        pytest.skip("needs /proc")
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    pool.resume()
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] != "T")
    pool.close()
    assert process.poll() == -signal.SIGKILL


def test_a_training_uses_code_when_it_is_there(
    corpus: Tokens, pool: CompilePool, code: SharedCode, caplog: pytest.LogCaptureFixture
) -> None:
    """The output layer gets its code, a block whose compilation fails does not."""
    space = hwnas.space({**SPACES["gpt"], "n_layer": [1, 2]})
    assert isinstance(space, LanguageModelSpace)
    model = build_model(space, space.parse("tiny-1-32-1-2-True"))
    code.pool = pool

    def wait(progress: object) -> None:
        wait_for(lambda: not pool.is_busy)

    settings = replace(SETTINGS, steps=2)
    with caplog.at_level(logging.WARNING, "hwnas.profiling"):
        assert not code.functions
        train(model, corpus, settings, code=code, report=wait, report_every=1)
        train(model, corpus, settings, code=code, report=wait, report_every=1)
    *_, output = parts_of(model, settings, model.device)
    assert set(code.functions) == {output.key}
    assert [record.getMessage() for record in caplog.records] == [
        "layer 0 of tiny-1-32-1-2-True is trained uncompiled: NoCompiler: none"
    ]
    # The code on disk is found at once by another process.
    later = SharedCode(code.folder, backend="eager")
    later.pool = CompilePool(1, {})
    assert later.function(output) is not None


def test_frequent_parts_are_compiled_ahead(corpus: Tokens, code: SharedCode) -> None:
    space, archs = sample("gpt", 16)
    calls = []

    class NoPool(CompilePool):
        def submit(self, parts: object, priority: int) -> None:
            calls.append((priority, [part.shape for part in parts]))  # type: ignore[attr-defined]

        def resume(self) -> None:
            calls.append((2, []))

    code.pool = NoPool(1, {})
    code.expected = lambda: [build_model(space, arch, device="meta") for arch in archs]
    for _ in range(2):
        train(build_model(space, archs[0]), corpus, replace(SETTINGS, steps=1), code=code)
    assert [priority for priority, _ in calls] == [0, 1, 2, 0, 2]
    own, ahead = calls[0][1], calls[1][1]
    assert len(ahead) == len(set(ahead))
    assert len(own) == archs[0].n_layer + 1  # type: ignore[attr-defined]
    assert any(shape.startswith("output") for shape in ahead)


@pytest.mark.slow
def test_another_process_finds_the_code(tmp_path: Path) -> None:
    """A compiled part is a hit of torch's cache in the next process."""
    script = f"""
import os, torch
os.environ["TORCHINDUCTOR_CACHE_DIR"] = {str(tmp_path)!r}
from torch._dynamo.utils import counters
from hwnas.profiling.training.parts import Part, compile_part
import sys
compile_part(Part.from_json(sys.stdin.read()))
print(dict(counters["aot_autograd"]))
"""
    part = three_parts()[0]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script], input=part.to_json(), capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert "'autograd_cache_miss': 1" in outputs[0]
    assert "'autograd_cache_hit': 1" in outputs[1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", SPACES)
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
            ],
        ),
    ],
)
def test_parts_are_compiled_for_the_tensors_of_a_training(
    family: str, precision: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A difference in type or stride would compile the part again, in the middle of a training."""
    space = hwnas.space(SPACES[family])
    assert isinstance(space, LanguageModelSpace)
    model = build_model(space, space.decode(space.sample(1, np.random.default_rng(0)))[0])
    model.to(device)
    settings = replace(SETTINGS, precision=precision)

    def properties(arguments: tuple[object, ...]) -> list[tuple[object, ...]]:
        return [
            (a.dtype, a.shape, a.stride(), a.requires_grad, a.is_leaf, a.device.type)
            for a in arguments
            if isinstance(a, torch.Tensor)
        ]

    seen: list[list[tuple[object, ...]]] = []
    output = shared_code.cross_entropy
    for block in model.blocks:
        block.register_forward_pre_hook(lambda block, arguments: seen.append(properties(arguments)))

    def recorded(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(properties(arguments))
        return output(*arguments)

    loss = shared_code.SharedLoss(model, [], SharedCode())
    monkeypatch.setattr(loss, "output", recorded)
    batch = torch.zeros(4, 17, dtype=torch.long, device=device)
    with autocast(model.device, settings.precision):
        loss(batch[:, :-1], batch[:, 1:])
        expected = [
            properties(parts._inputs(part, model.device))
            for part in parts_of(model, settings, model.device)
        ]
    assert seen == expected
