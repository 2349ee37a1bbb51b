"""Training: the gradient of a step, learning, resume, failures, several processes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import ByteTokenizer, Tokens, tokens
from hwnas.profiling.errors import Diverged
from hwnas.profiling.supernet.checkpoint import read_checkpoint
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.extremes import largest, smallest
from hwnas.profiling.supernet.parallel import Group, process_group
from hwnas.profiling.supernet.sandwich import Sandwich
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.slicing import add_entries, shapes_of
from hwnas.profiling.supernet.step_code import StepCode, block_parts
from hwnas.profiling.supernet.train_loop import SupernetProgress, train_supernet
from hwnas.profiling.training import parts
from hwnas.profiling.training.shared_code import SharedCode

Settings = Callable[..., SupernetSettings]
CPU = torch.device("cpu")


def copies(shared: SharedWeights) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in shared.weights.items()}


def restore(shared: SharedWeights, weights: dict[str, torch.Tensor]) -> None:
    for name, weight in shared.weights.items():
        weight.copy_(weights[name])


def sandwich(
    shared: SharedWeights, corpus: Tokens, settings: SupernetSettings, code: Any = None
) -> Sandwich:
    shared.allocate_gradients()
    step_code = StepCode(settings.training, CPU, code)
    return Sandwich(shared, corpus, settings, Group(0, 1, CPU), step_code)


@pytest.mark.parametrize("distillation", [0.0, 1.0])
def test_gradient_is_the_mean_over_networks(
    shared: SharedWeights, corpus: Tokens, settings: Settings, distillation: float
) -> None:
    chosen = settings(distillation=distillation, accumulate=2)
    archs = chosen.architectures(shared.space, 0)
    step = sandwich(shared, corpus, chosen)
    nats = step.accumulate_gradients(archs, 0)
    expected = {name: torch.zeros_like(weight) for name, weight in shared.weights.items()}
    x, y = (batch := step.batch(0))[:, :-1], batch[:, 1:]
    soft = shared.subnetwork(archs[0], copy=True)(x).detach().flatten(0, 1).softmax(-1)
    for i, arch in enumerate(archs):
        model = shared.subnetwork(arch, copy=True)
        loss = model.loss(x, y)
        if i < 2:
            assert torch.allclose(nats[i], loss.detach(), atol=1e-5)
        if i and distillation:
            logits = model(x).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, soft)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            whole, part = shared.shapes[name], shapes_of(model)[name]
            add_entries(expected[name], parameter.grad / len(archs), whole, part)
    for name, gradient in expected.items():
        assert torch.allclose(shared.gradients[name], gradient, atol=1e-6), name


def test_compiled_code_computes_the_same(
    shared: SharedWeights, corpus: Tokens, settings: Settings, tmp_path: Path
) -> None:
    chosen = settings(compile="blocks")
    archs = chosen.architectures(shared.space, 0)
    plain = sandwich(shared, corpus, chosen)
    plain.accumulate_gradients(archs, 0)
    expected = shared.flat_gradient.clone()
    code = SharedCode(tmp_path, backend="aot_eager")
    compiled = sandwich(shared, corpus, chosen, code)
    n_before = counters["stats"]["unique_graphs"]
    torch.compiler.reset()  # code of the loss of other tests
    with code.active():
        for _ in range(2):  # new models run the same code
            compiled.accumulate_gradients(archs, 0)
            assert torch.allclose(shared.flat_gradient, expected, atol=1e-6)
        # One graph for each shape, and two for the loss, with and without a teacher.
        assert counters["stats"]["unique_graphs"] - n_before == len(code.functions) + 2
    shapes = block_parts(shared.space, chosen.training, CPU)
    assert len(code.functions) > 1
    assert set(code.functions) <= set(shapes)  # what is compiled before the first step is found


def test_code_is_compiled_for_the_strides_of_shared_weights(
    shared: SharedWeights, settings: Settings
) -> None:
    """Other strides would compile a block again, in the middle of a training."""
    (arch,) = settings().architectures(shared.space, 0)[1:2]
    model = shared.subnetwork(arch)
    *blocks, _ = parts.parts_of(model, settings().training, CPU)
    assert any(part.strides for part in blocks)
    for block, part in zip(model.blocks, blocks, strict=True):
        compiled, *_ = parts._inputs(parts.Part.from_json(part.to_json()), CPU)
        found, expected = (
            {name: (p.shape, p.stride(), p.dtype) for name, p in b.named_parameters()}
            for b in (compiled, block)
        )
        assert found == expected


def test_all_networks_learn(shared: SharedWeights, corpus: Tokens, settings: Settings) -> None:
    archs = [largest(shared.space), smallest(shared.space)]
    reports: list[SupernetProgress] = []
    before = [shared.subnetwork(arch)(torch.zeros(1, 9).long()) for arch in archs]
    result = train_supernet(
        shared, corpus, settings(40, learning_rate=1e-2), report=reports.append, peak_flops=1e12
    )
    assert [r.step for r in reports] == [10, 20, 30, 40]
    assert result.step == 40
    assert reports[0].losses[1] > 3.5 > result.losses[1] > result.losses[0] > 1
    assert result.tokens_per_second > 0
    assert result.utilisation is not None
    assert 0 < result.utilisation < 1
    for arch, logits in zip(archs, before, strict=True):
        assert not torch.equal(shared.subnetwork(arch)(torch.zeros(1, 9).long()), logits)


@pytest.mark.parametrize("order", [0.0, 0.5])
def test_a_stopped_training_continues_exactly(
    shared: SharedWeights, corpus: Tokens, settings: Settings, order: float, tmp_path: Path
) -> None:
    chosen, start, file = settings(8, order=order), copies(shared), tmp_path / "x.safetensors"
    whole = train_supernet(shared, corpus, chosen)
    expected = copies(shared)
    restore(shared, start)
    n_calls = 0
    progress = None
    while progress is None or progress.step < 8:
        progress = train_supernet(
            shared, corpus, chosen, checkpoint=file, max_seconds=0, report_every=3
        )
        restore(shared, start)  # only the checkpoint counts
        n_calls += 1
    assert n_calls == 3
    assert progress.losses == whole.losses
    train_supernet(shared, corpus, chosen, checkpoint=file)  # nothing is left to do
    assert all(torch.equal(shared.weights[name], expected[name]) for name in expected)


def test_a_checkpoint_of_another_training_is_refused(
    shared: SharedWeights, corpus: Tokens, settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "x.safetensors"
    train_supernet(shared, corpus, settings(2), checkpoint=file)
    with pytest.raises(InvalidInput, match=r"x\.safetensors: a checkpoint of another .*'sampled'"):
        train_supernet(shared, corpus, settings(2, sampled=1), checkpoint=file)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(w) for w in shared.weights.values()])
    with pytest.raises(InvalidInput, match="expected tokens"):
        read_checkpoint(file, shared, optimizer, {"tokens": "others"})
    (tmp_path / "y").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="y: expected the weights of a supernet"):
        train_supernet(shared, corpus, settings(2), checkpoint=tmp_path / "y")


def test_failures_are_named(shared: SharedWeights, corpus: Tokens, settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="batch_size: expected a multiple of 3 processes"):
        settings(2).of_process(3)
    with pytest.raises(InvalidInput, match="text: expected more than 16 tokens"):
        train_supernet(shared, tokens(["short"], ByteTokenizer()), settings(2))
    shared.weights["norm.weight"].fill_(math.nan)
    with pytest.raises(Diverged, match="in step 1; a smaller learning rate helps"):
        train_supernet(shared, corpus, settings(2))


@pytest.mark.parametrize(
    "change", [{"sampled": -1}, {"distillation": 1.5}, {"order": 1.0}], ids=str
)
def test_settings_out_of_range(settings: Settings, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{next(iter(change))}: expected"):
        settings(**change)


SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from conftest import new_shared, SIZES
from hwnas.profiling.data.tokenizer import ByteTokenizer, tokens
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.parallel import process_group
from hwnas.profiling.supernet.train_loop import train_supernet
from hwnas.profiling.training.config import TrainingSettings
torch.set_num_threads(1)
with process_group("cpu") as group:
    shared = new_shared("llama")
    if group.rank:
        shared.reset(seed=9)  # the weights of the first process count
    settings = SupernetSettings(training=TrainingSettings(steps=4, batch_size=8), order=0.5)
    corpus = tokens([f"the number {i}" for i in range(50)], ByteTokenizer())
    train_supernet(shared, corpus, settings, group=group)
    if group.rank == 0:
        torch.save(shared.weights, sys.argv[2])
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    files = [tmp_path / "one.pt", tmp_path / "two.pt"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for program, file in zip(([], torchrun), files, strict=True):
        command = [sys.executable, *program, str(script), str(Path(__file__).parent), str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(file, weights_only=True) for file in files)
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=1e-5), name


def test_devices() -> None:
    with process_group("cpu") as group:
        assert (group.rank, group.size, group.device) == (0, 1, CPU)
        assert group.any(True)
    with pytest.raises(InvalidInput, match="expected auto, cpu, cuda"), process_group("gpu"):
        pass
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="found 0 GPUs"), process_group("cuda"):
            pass
