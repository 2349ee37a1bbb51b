from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, OutOfMemory, TimedOut
from hwnas.profiling.gpt import GPT
from hwnas.profiling.training import train_loop
from hwnas.profiling.training.config import TrainingSettings
from hwnas.profiling.training.shared_code import PlainLoss
from hwnas.profiling.training.train_loop import Progress, train
from hwnas.spaces.architecture import Architecture

SETTINGS = TrainingSettings(steps=12, batch_size=4, learning_rate=1e-2, warmup=0.3)


def new_model(seed: int = 0) -> GPT:
    arch = Architecture.parse("tiny-2-32-2-1-1-2-True")
    return GPT(arch, head_size=16, context=64, vocab_size=257, seed=seed)


def same_weights(a: GPT, b: GPT) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_loss_decreases_on_repetitive_text(model: GPT, corpus: Tokens) -> None:
    losses = [p.loss for p in reports(model, corpus, replace(SETTINGS, steps=60), report_every=1)]
    assert losses[0] == pytest.approx(np.log(257), rel=0.02)
    assert np.mean(losses[-5:]) < 2.5
    assert all(p.grad is None for p in model.parameters())


def reports(
    model: GPT, tokens: Tokens, settings: TrainingSettings, **options: Any
) -> list[Progress]:
    history: list[Progress] = []
    train(model, tokens, settings, report=history.append, **options)
    return history


def test_step_is_adamw(corpus: Tokens) -> None:
    """Two steps against the equations of Loshchilov and Hutter (2019), algorithm 2."""
    settings = replace(SETTINGS, clip=float("inf"), weight_decay=0.5)
    trained, model = new_model(), new_model()
    train(trained, corpus, settings, until=2)
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters()}
    for step in range(2):
        batch = torch.from_numpy(settings.batch(corpus.ids, 64, step))
        model.zero_grad()
        model.loss(batch[:, :-1], batch[:, 1:]).backward()
        rate = settings.learning_rate_at(step)
        with torch.no_grad():
            for p, (m, v) in state.items():
                m.mul_(0.9).add_(0.1 * p.grad)
                v.mul_(0.95).add_(0.05 * p.grad**2)
                if p.ndim == 2:
                    p.mul_(1 - rate * 0.5)
                corrected = m / (1 - 0.9 ** (step + 1))
                p.sub_(rate * corrected / ((v / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8))
    for a, b in zip(trained.parameters(), model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("pauses", [(5,), (1, 2, 11)])
def test_paused_training_equals_uninterrupted_training(
    tmp_path: Path, corpus: Tokens, pauses: tuple[int]
) -> None:
    uninterrupted = new_model()
    expected = train(uninterrupted, corpus, SETTINGS)
    for until in (*pauses, None):
        paused = new_model(seed=99)  # the checkpoint replaces these weights
        if until == pauses[0]:
            paused = new_model()
        progress = train(paused, corpus, SETTINGS, until=until, checkpoint=tmp_path / "c.pt")
        assert progress.step == (until or 12)
    assert same_weights(paused, uninterrupted)
    assert progress.loss == expected.loss
    assert not same_weights(paused, new_model())


def test_completed_training_is_not_repeated(tmp_path: Path, corpus: Tokens) -> None:
    file = tmp_path / "deep" / "c.pt"
    trained, reloaded = new_model(), new_model()
    first = train(trained, corpus, SETTINGS, checkpoint=file)
    second = train(reloaded, corpus, SETTINGS, checkpoint=file)
    assert (second.step, second.loss, second.tokens_per_second) == (12, first.loss, None)
    assert same_weights(trained, reloaded)
    assert [f.name for f in file.parent.iterdir()] == ["c.pt"]


def test_seconds_add_up(tmp_path: Path, corpus: Tokens) -> None:
    first = train(new_model(), corpus, SETTINGS, until=6, checkpoint=tmp_path / "c.pt")
    second = train(new_model(), corpus, SETTINGS, checkpoint=tmp_path / "c.pt")
    assert second.seconds > first.seconds > 0


def test_killed_training_continues(tmp_path: Path, corpus: Tokens) -> None:
    np.save(tmp_path / "ids.npy", corpus.ids)
    script = f"""
import os, signal, torch, numpy as np
torch.set_num_threads(1)
from hwnas.profiling import *
from hwnas.spaces.architecture import Architecture
arch = Architecture.parse("tiny-2-32-2-1-1-2-True")
model = GPT(arch, head_size=16, context=64, vocab_size=257)
tokens = Tokens(np.load({str(tmp_path / "ids.npy")!r}), {corpus.n_bytes}, 257, 256)
settings = TrainingSettings(steps=12, batch_size=4, learning_rate=1e-2, warmup=0.3)
def report(progress):
    if progress.step == 9:
        os.kill(os.getpid(), signal.SIGKILL)
train(model, tokens, settings, checkpoint={str(tmp_path / "c.pt")!r}, checkpoint_every=4,
      report=report, report_every=3)
"""
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    steps: list[int] = []
    uninterrupted, continued = new_model(), new_model()
    train(uninterrupted, corpus, SETTINGS)
    train(
        continued,
        corpus,
        SETTINGS,
        checkpoint=tmp_path / "c.pt",
        report=lambda p: steps.append(p.step),
        report_every=1,
    )
    assert steps == [9, 10, 11, 12]
    assert same_weights(uninterrupted, continued)


def test_accumulated_gradient_is_that_of_the_batch(corpus: Tokens) -> None:
    at_once, in_parts = new_model(), new_model()
    whole_batch = train(at_once, corpus, SETTINGS, until=3)
    accumulated = train(in_parts, corpus, replace(SETTINGS, accumulate=4), until=3)
    assert accumulated.loss == pytest.approx(whole_batch.loss, rel=1e-4)
    for a, b in zip(at_once.parameters(), in_parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_gradient_is_clipped(corpus: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any) -> Any:
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        lengths.append(torch.cat([g.flatten() for g in grads]).norm().item())
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(new_model(), corpus, replace(SETTINGS, clip=0.01), until=2)
    assert lengths == pytest.approx([0.01, 0.01], rel=1e-3)


def test_bfloat16_is_close_to_float32(corpus: Tokens) -> None:
    exact = train(new_model(), corpus, SETTINGS, until=5).loss
    model = new_model()
    rounded = train(model, corpus, replace(SETTINGS, precision="bfloat16"), until=5).loss
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_compiler_is_called_and_reset(corpus: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda f, *, dynamic: calls.append(f) or f)
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    model = new_model()
    train(model, corpus, replace(SETTINGS, compile=True), until=1)
    assert calls == [model.loss, "reset"]


def test_gradients_become_a_graph_when_no_code_is_new(
    corpus: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled code that arrives at step 2 delays the capture by one report, to step 4."""
    model, plain = new_model(), new_model()
    captured: list[int] = []
    replayed: list[int] = []

    class Code(PlainLoss):
        n_reports = 0

        def refresh(self) -> bool:
            self.n_reports += 1
            return self.n_reports == 1

    def capture(gradient: Any, batch: torch.Tensor, name: str) -> Any:
        captured.append(len(batch))

        def replay(batch: torch.Tensor) -> torch.Tensor:
            replayed.append(len(batch))
            return gradient(batch)

        return replay

    @contextmanager
    def code(*args: Any, **kwargs: Any) -> Iterator[PlainLoss]:
        yield Code(model.loss)

    settings = replace(SETTINGS, steps=8)
    train(plain, corpus, settings)
    monkeypatch.setattr(train_loop, "training_loss", code)
    monkeypatch.setattr(train_loop, "pays_capture", lambda device, settings, steps: steps >= 3)
    monkeypatch.setattr(train_loop, "try_capture", capture)
    train(model, corpus, settings, report_every=2)
    assert captured == [settings.batch_size]
    assert len(replayed) == 4  # steps 5 to 8
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_throughput(corpus: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a clock on which the first step takes 10 s and each later step 2 s."""
    model, now = new_model(), 0.0
    advance = train_loop._TrainingRun.advance

    def timed(run: train_loop._TrainingRun) -> None:
        nonlocal now
        advance(run)
        now += 10 if run.step == 1 else 2

    monkeypatch.setattr(train_loop._TrainingRun, "advance", timed)
    monkeypatch.setattr(train_loop.time, "perf_counter", lambda: now)
    per_token = model.training_flops_per_token()
    history: list[Progress] = []
    end = train(
        model,
        corpus,
        replace(SETTINGS, steps=3),
        peak_flops=per_token * 1000,
        report=history.append,
        report_every=1,
    )
    batch = 4 * 64
    assert [p.tokens_per_second for p in history] == [batch / 10, batch / 2, batch / 2]
    assert [p.seconds for p in history] == [10, 12, 14]
    assert end.tokens_per_second == batch / 2  # without the first
    assert end.utilisation == pytest.approx(batch / 2 / 1000)
    assert train(new_model(), corpus, SETTINGS, until=1).utilisation is None


def test_divergence_names_the_step(tmp_path: Path, corpus: Tokens) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, warmup=0.0, clip=float("inf"))
    model, file = new_model(), tmp_path / "c.pt"
    with pytest.raises(Diverged, match=r"training tiny-2.*: loss .*nan.* in step [23]$"):
        train(model, corpus, settings, checkpoint=file)
    assert not file.exists()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_is_released(
    corpus: Tokens, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    model = new_model()
    references: list[Any] = []
    forward = model.loss

    def hungry(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = forward(tokens, targets)
        references.append(weakref.ref(loss))
        if len(references) == 3:
            raise error
        return loss

    def new_adamw(*args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = adamw(*args, **kwargs)
        references.append(weakref.ref(optimizer))
        return optimizer

    adamw = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", new_adamw)
    monkeypatch.setattr(model, "loss", hungry)
    with pytest.raises(OutOfMemory, match=r"training tiny-2.*: not enough memory on cpu: \w") as e:
        train(model, corpus, replace(SETTINGS, accumulate=4))  # in its second part
    assert "\n" not in str(e.value)
    assert [reference() for reference in references] == [None] * 3  # though the error still lives
    assert all(p.grad is None for p in model.parameters())


def test_allocator_error_is_out_of_memory(corpus: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model()
    monkeypatch.setattr(model, "loss", lambda *_: torch.empty(2**55))
    with pytest.raises(OutOfMemory):
        train(model, corpus, SETTINGS)


def test_unrelated_errors_are_not_changed(corpus: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model()
    monkeypatch.setattr(model, "loss", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        train(model, corpus, SETTINGS)


def test_time_limit(tmp_path: Path, corpus: Tokens) -> None:
    file = tmp_path / "c.pt"
    with pytest.raises(
        TimedOut, match=r"training tiny-2.*: the time limit of 0 s is over at step 1 of 12"
    ):
        train(new_model(), corpus, SETTINGS, time_limit=0, checkpoint=file, checkpoint_every=1)
    uninterrupted, continued = new_model(), new_model()
    train(uninterrupted, corpus, SETTINGS)
    train(continued, corpus, SETTINGS, checkpoint=file, time_limit=600)
    assert same_weights(uninterrupted, continued)


def test_checkpoint_of_another_training(tmp_path: Path, corpus: Tokens) -> None:
    file = tmp_path / "c.pt"
    train(new_model(), corpus, SETTINGS, until=4, checkpoint=file)
    with pytest.raises(InvalidInput, match=r"another training: expected steps 13, found 12"):
        train(new_model(), corpus, replace(SETTINGS, steps=13), checkpoint=file)
    reversed_tokens = replace(corpus, ids=corpus.ids[::-1])
    with pytest.raises(InvalidInput, match=r"another training: expected tokens"):
        train(new_model(), reversed_tokens, SETTINGS, checkpoint=file)
    wide = GPT(Architecture.parse("wide-1-32-4-4-True"), head_size=16, context=64, vocab_size=257)
    with pytest.raises(InvalidInput, match=r"another training: expected arch wide-1"):
        train(wide, corpus, SETTINGS, checkpoint=file)
    with pytest.raises(InvalidInput, match="expected at most step 3, found 4"):
        train(new_model(), corpus, SETTINGS, until=3, checkpoint=file)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("content", [b"", b"nothing", pickle.dumps(Evil(), 2), pickle.dumps({}, 2)])
def test_invalid_checkpoint(
    tmp_path: Path, corpus: Tokens, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.pt"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"c\.pt: expected a checkpoint of a training"):
        train(new_model(), corpus, SETTINGS, checkpoint=file)
    torch.save({"model": Evil()}, file)
    with pytest.raises(InvalidInput, match=r"c\.pt: expected a checkpoint of a training"):
        train(new_model(), corpus, SETTINGS, checkpoint=file)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"until": 13}, "until: expected 0 to 12 steps, found 13"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected a number of steps, found 0"),
        ({"report_every": 0}, "report_every: expected a number of steps, found 0"),
        ({"peak_flops": 0}, "peak_flops: expected a number above 0, found 0"),
    ],
)
def test_arguments_are_checked(corpus: Tokens, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        train(new_model(), corpus, SETTINGS, **settings)


def test_tokens_are_checked(corpus: Tokens) -> None:
    with pytest.raises(InvalidInput, match=r"too little text: .*more than 64 tokens.*found 64"):
        train(new_model(), replace(corpus, ids=corpus.ids[:64]), SETTINGS)
    with pytest.raises(
        InvalidInput, match="vocabulary of at most 257, that of the model, found 258"
    ):
        train(new_model(), replace(corpus, vocab_size=258), SETTINGS)
