"""Gradient of one step of a supernet: the sandwich rule with in-place distillation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hwnas.profiling.data.tokenizer import Tokens
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.supernet.config import SupernetSettings
from hwnas.profiling.supernet.output_loss import (
    ChunkLogits,
    OutputLoss,
    Teacher,
    output_loss,
)
from hwnas.profiling.supernet.parallel import Group
from hwnas.profiling.supernet.pass_graphs import N_KEPT, PassGraphs
from hwnas.profiling.supernet.shared_weights import SharedWeights
from hwnas.profiling.supernet.step_code import StepCode
from hwnas.profiling.training.config import autocast


class Sandwich:
    """Gradients of the largest network on a text, and of others on its predictions too.

    Parameters
    ----------
    shared
        Weights with gradients.
    tokens
        Tokens to train on.
    settings
        Settings of the training.
    group
        Processes of the training.
    code
        Code of the networks.

    Attributes
    ----------
    flops : float
        Operations of this process so far.
    """

    def __init__(
        self,
        shared: SharedWeights,
        tokens: Tokens,
        settings: SupernetSettings,
        group: Group,
        code: StepCode,
    ) -> None:
        self.shared, self.tokens, self.group, self.code = shared, tokens, group, code
        self.training, self.distillation = settings.training, settings.distillation
        self.flops = 0.0
        self.pass_flops: dict[int, int] = {}  # by number of the network in a step
        self.graphs = PassGraphs(shared.device, settings.training)
        # The largest and the smallest network, which every step needs; building one takes long.
        self.kept: dict[str, LanguageModel] = {}

    def accumulate_gradients(self, archs: list[Any], step: int) -> tuple[Tensor, Tensor]:
        """Compute the mean gradient over the networks of a step, and over all processes.

        Returns
        -------
        largest, smallest
            Cross-entropies of the first two networks with the text; NaN for a missing one.
        """
        run = partial(self.run_pass, archs)
        parts = self.batch(step).chunk(self.training.accumulate)
        self.graphs.prepare(run, parts, len(archs), step)
        self.shared.flat_gradient.zero_()
        nats = torch.zeros(len(archs), device=self.shared.device)
        for part in parts:
            # The logits of the largest network, the first one, are the targets of the others.
            logits: list[ChunkLogits] = []
            for i in range(len(archs)):
                nats[i] += self.graphs.run(run, i, part, logits) / len(parts)
                self.flops += self.pass_flops[i]
        self.group.average(self.shared.flat_gradient)
        self.group.average(nats)
        return nats[0], nats[1] if len(nats) > 1 else nats[0] * math.nan

    def run_pass(self, archs: list[Any], i: int, part: Tensor, logits: list[ChunkLogits]) -> Tensor:
        """Add the gradient of one network for a part of the batch.

        Parameters
        ----------
        archs
            Networks of the step.
        i
            Number of the network.
        part
            (B, context + 1), tokens.
        logits
            Logits of the largest network, which its own pass adds.

        Returns
        -------
        Cross-entropy with the text.
        """
        # It is built while the device computes the network before it.
        model = self.model(archs[i], is_kept=i < N_KEPT)
        n_tokens = len(part) * self.shared.space.context
        self.pass_flops[i] = n_tokens * model.training_flops_per_token()
        teacher = Teacher(logits, self.distillation) if i else None
        loss = self.loss(model, part, teacher, None if i or len(archs) == 1 else logits)
        (loss.loss / (len(archs) * self.training.accumulate)).backward()  # type: ignore[no-untyped-call]
        self.shared.add_gradients(model)
        if i >= N_KEPT:
            self.code.detach(model)
        return loss.nats

    def model(self, arch: Any, *, is_kept: bool) -> LanguageModel:
        """Return the model of an architecture with the present weights and compiled code."""
        model = self.kept.get(str(arch)) if is_kept else None
        if model is not None:
            self.shared.refresh(model)
            return model
        model = self.shared.subnetwork(arch)
        self.code.attach(model)
        if is_kept:
            self.kept[str(arch)] = model
        return model

    def loss(
        self,
        model: LanguageModel,
        batch: Tensor,
        teacher: Teacher | None,
        keep: list[ChunkLogits] | None,
    ) -> OutputLoss:
        """Return the loss of a network for a batch (B, context + 1)."""
        with autocast(self.shared.device, self.training.precision):
            return output_loss(
                model.features(batch[:, :-1]),
                model.output_weight,
                batch[:, 1:],
                teacher=teacher,
                keep=keep,
                function=self.code.chunk_gradient,
            )

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch of this process."""
        return self.training.batch_size // self.group.size * self.shared.space.context

    def batch(self, step: int) -> Tensor:
        """Return this process's share of the batch of a step, (B, context + 1), on the device."""
        sequences = self.training.batch(self.tokens.ids, self.shared.space.context, step)
        own = torch.from_numpy(sequences[self.group.rank :: self.group.size].copy())
        if self.shared.device.type == "cuda":
            own = own.pin_memory()
        return own.to(self.shared.device, non_blocking=True)
