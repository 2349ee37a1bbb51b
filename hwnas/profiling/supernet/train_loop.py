"""Training of a supernet: the sandwich rule with in-place distillation.

A step trains the largest network on the text, and the smallest and random ones on a mixture of the
text and the predictions of the largest (Yu and Huang 2019, arXiv:1903.05134). Their gradients are
averaged in one piece of memory, and AdamW updates all weights once. HW-GPT-Bench (Sukthanker et
al. 2024, arXiv:2405.10299) trains its supernets likewise, with two random networks, 800,000 steps
for gpt-s on OpenWebText, and without distillation.

Step k depends only on the settings, the weights and k, so that a training that was stopped
continues as if it had not been.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from hwnas.errors import InvalidInput
from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.errors import Diverged, release_memory
from hwnas.profiling.supernet.checkpoint import (
    read_checkpoint,
    states,
    supernet_identity,
    write_checkpoint,
)
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.extremes import largest
from hwnas.profiling.supernet.ordering import importance, reorder, units_of
from hwnas.profiling.supernet.parallel import Group
from hwnas.profiling.supernet.sandwich import Sandwich
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.step_code import StepCode, new_code
from hwnas.profiling.training.config import adamw

_ORDER_BATCHES = 8  # whose gradients decide on the importance of heads and neurons


@dataclass(frozen=True, slots=True)
class SupernetProgress:
    """Progress of the training of a supernet.

    Attributes
    ----------
    step
        Number of completed steps.
    losses
        Cross-entropy with the text of the largest and of the smallest network in the last step, in
        nats per token; the second is NaN where only the largest is trained.
    seconds
        Duration of all steps, including those before a pause.
    tokens_per_second
        Tokens of batches since the last report; each is seen by all networks of a step.
    utilisation
        Share of the device's peak throughput that the passes of all networks reach, None if the
        peak is unknown.
    """

    step: int
    losses: tuple[float, float]
    seconds: float
    tokens_per_second: float
    utilisation: float | None


def train_supernet(
    shared: SharedWeights,
    tokens: Tokens,
    settings: SupernetSettings,
    *,
    group: Group | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    max_seconds: float = math.inf,
    peak_flops: float | None = None,
    report: Callable[[SupernetProgress], None] | None = None,
    report_every: int = 10,
    log: Callable[[str], None] = lambda line: None,
) -> SupernetProgress:
    """Train shared weights in place, on their device.

    Parameters
    ----------
    shared
        Weights to train. If the checkpoint exists, its weights replace them.
    tokens
        Tokens to train on, more than the context of the space.
    group
        Processes of the training; by default this one alone. All call this function, with the same
        arguments, and each trains on its share of a batch.
    checkpoint
        File to continue from, if it exists, and to write at the end of this call.
    checkpoint_every
        Steps between two checkpoints; by default only the last one is written.
    max_seconds
        Duration of this call after which it writes the checkpoint and returns.
    peak_flops
        Peak throughput of one device in operations per second, in the precision of the training.
    report
        Function called every `report_every` steps.
    log
        Function called with messages.

    Raises
    ------
    Diverged, OutOfMemory
        The training failed; the checkpoint remains as it was.
    InvalidInput
        The text or the checkpoint does not fit.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.profiling import TrainingSettings, tokenizer, tokens
    >>> space = hwnas.space({"name": "tiny", "embed_dim": [8, 16], "n_layer": [1, 2],
    ...                      "mlp_ratio": [1, 2], "n_head": [1, 2], "head_size": 8,
    ...                      "context": 16, "vocab_size": 257})
    >>> shared = SharedWeights(space)
    >>> shared.reset(seed=0)
    >>> settings = SupernetSettings(training=TrainingSettings(steps=3))
    >>> train_supernet(shared, tokens(["some text"] * 9, tokenizer("bytes")), settings).step
    3
    """
    group = Group(0, 1, shared.device) if group is None else group
    _check_text(shared, tokens)
    own = settings.of_process(group.size)
    begin = time.perf_counter()
    with release_memory(shared.device, "training a supernet"), ExitStack() as stack:
        # Gradients are views with the strides of shared weights, which costs nothing here.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
        code = new_code(own, group)
        if code is not None:
            stack.enter_context(code.active())
            stack.callback(code.close)
        step_code = StepCode(own, group.device, code)
        step_code.prepare(shared.space, log)
        group.wait()
        # The run is not bound to a name here, see `hwnas.profiling.training.train_loop.train`.
        return _Run(shared, tokens, settings, group, step_code, peak_flops).run(
            checkpoint,
            checkpoint_every or settings.training.steps,
            max_seconds - (time.perf_counter() - begin),  # compilation counts as well
            report or (lambda progress: None),
            report_every,
        )


class _Run:
    """Training in progress: weights, optimizer, clock."""

    def __init__(
        self,
        shared: SharedWeights,
        tokens: Tokens,
        settings: SupernetSettings,
        group: Group,
        code: StepCode,
        peak_flops: float | None,
    ) -> None:
        self.shared, self.settings = shared, settings
        self.group, self.peak_flops = group, peak_flops
        self.identity = supernet_identity(shared, tokens, settings)
        self.sandwich = Sandwich(shared, tokens, settings, group, code)
        shared.allocate_gradients()
        for weight in shared.weights.values():
            group.share(weight)
        # The optimizer's parameters are the shared weights; gradients are set before each update.
        self.parameters = [nn.Parameter(weight) for weight in shared.weights.values()]
        for parameter, gradient in zip(self.parameters, shared.gradients.values(), strict=True):
            parameter.grad = gradient
        self.optimizer = adamw(self.parameters, settings.training)
        self.step, self.losses = 0, (math.nan, math.nan)
        self.previous_seconds = 0.0
        self.unchecked: list[Tensor] = []  # (3,) each: losses of two networks, gradient norm
        self.start = time.perf_counter()
        self.mark = (0.0, 0.0)  # seconds, operations at the last report

    def run(
        self,
        checkpoint: Path | None,
        checkpoint_every: int,
        max_seconds: float,
        report: Callable[[SupernetProgress], None],
        report_every: int,
    ) -> SupernetProgress:
        """Run the steps that are left; the parameters are those of `train_supernet`."""
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        steps, first = self.settings.training.steps, self.step
        self.mark = (self.elapsed, 0.0)
        progress = self.progress(first)
        while self.step < steps:
            self.advance()
            is_last = self.step == steps
            # Reading losses waits for the device, so it and the clock are looked at together.
            if is_last or self.step % report_every == 0:
                self.check_losses()
                progress, first = self.progress(first), self.step
                report(progress)
                is_last = is_last or self.group.any(self.elapsed > max_seconds)
            if checkpoint is not None and (is_last or self.step % checkpoint_every == 0):
                self.check_losses()
                self.save(checkpoint)
            if is_last:
                break
        return progress

    @property
    def elapsed(self) -> float:
        """Seconds in this call."""
        return time.perf_counter() - self.start

    def advance(self) -> None:
        """Run one step without waiting for the device."""
        if 0 < self.step == self.settings.order_step:
            self.order_units()
        for parameter_group in self.optimizer.param_groups:
            parameter_group["lr"] = self.settings.training.learning_rate_at(self.step)
        archs = self.settings.architectures(self.shared.space, self.step)
        nats = self.sandwich.accumulate_gradients(archs, self.step)
        norm = clip_grad_norm_(self.parameters, self.settings.training.clip)
        self.optimizer.step()
        self.unchecked.append(torch.stack((*nats, norm)))
        self.step += 1

    def order_units(self) -> None:
        """Order heads and neurons by their importance for the largest network."""
        arch = largest(self.shared.space)
        units = list(units_of(self.shared.subnetwork(arch), self.shared.shapes))
        scores: list[Any] = [0.0] * len(units)
        for i in range(_ORDER_BATCHES):
            self.shared.flat_gradient.zero_()
            # These batches are those of the steps just before.
            model = self.shared.subnetwork(arch)
            batch = self.sandwich.batch(max(self.step - 1 - i, 0))
            loss = self.sandwich.loss(model, batch, None, None).loss
            loss.backward()  # type: ignore[no-untyped-call]
            scores = [s + importance(model, u) for s, u in zip(scores, units, strict=True)]
        for unit, score in zip(units, scores, strict=True):
            self.group.average(score)
            order = score.argsort(descending=True, stable=True)
            for tensors in states(self.shared, self.optimizer):
                reorder(tensors, self.shared.shapes, unit, order)

    def check_losses(self) -> None:
        """Wait for the device, and check that losses since the last check are finite.

        Raises
        ------
        Diverged
            A loss or the norm of a gradient is not finite.
        """
        if not self.unchecked:
            return
        n_checked = self.step - len(self.unchecked)
        for step, row in enumerate(torch.stack(self.unchecked).tolist(), n_checked + 1):
            of_largest, of_smallest, norm = row
            if not math.isfinite(of_largest) or not math.isfinite(norm):
                raise Diverged(
                    f"training a supernet: loss {of_largest:g} with a gradient of norm {norm:g} "
                    f"in step {step}; a smaller learning rate helps"
                )
            self.losses = (of_largest, of_smallest)
        self.unchecked.clear()

    def progress(self, first: int) -> SupernetProgress:
        """Return the progress, with the throughput since step `first`."""
        last_mark, self.mark = self.mark, (self.elapsed, self.sandwich.flops)
        seconds, flops = self.mark[0] - last_mark[0], self.mark[1] - last_mark[1]
        n_tokens = (self.step - first) * self.sandwich.batch_tokens * self.group.size
        return SupernetProgress(
            self.step,
            self.losses,
            self.previous_seconds + self.elapsed,
            n_tokens / seconds if seconds else 0.0,
            flops / seconds / self.peak_flops if self.peak_flops and seconds else None,
        )

    def save(self, file: Path) -> None:
        """Write the checkpoint, in the first process."""
        if self.group.rank == 0:
            content = {
                "identity": self.identity,
                "step": self.step,
                "losses": [None if math.isnan(loss) else loss for loss in self.losses],
                "seconds": self.previous_seconds + self.elapsed,
            }
            write_checkpoint(file, self.shared, self.optimizer, content)

    def load(self, file: Path) -> None:
        """Continue from a checkpoint of this training."""
        content = read_checkpoint(file, self.shared, self.optimizer, self.identity)
        self.step, self.previous_seconds = content["step"], content["seconds"]
        of_largest, of_smallest = (math.nan if x is None else x for x in content["losses"])
        self.losses = (of_largest, of_smallest)


def _check_text(shared: SharedWeights, tokens: Tokens) -> None:
    """Raise InvalidInput unless there are enough tokens, of a vocabulary of the space's size."""
    space = shared.space
    if len(tokens) <= space.context:
        raise InvalidInput(
            f"text: expected more than {space.context} tokens to train on, the context of "
            f"{space.name}, found {len(tokens)}"
        )
    if tokens.vocab_size > space.vocab_size:
        raise InvalidInput(
            f"tokenizer: expected at most {space.vocab_size} tokens, the vocab_size of "
            f"{space.name}, found {tokens.vocab_size}"
        )
