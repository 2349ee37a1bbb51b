"""Gradient of one step of a supernet: the sandwich rule with in-place distillation."""

from __future__ import annotations

import math
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
        # The largest and the smallest network, which every step needs; building one takes long.
        self.kept: dict[str, LanguageModel] = {}

    def accumulate_gradients(self, archs: list[Any], step: int) -> tuple[Tensor, Tensor]:
        """Compute the mean gradient over the networks of a step, and over all processes.

        Returns
        -------
        largest, smallest
            Cross-entropies of the first two networks with the text; NaN for a missing one.
        """
        self.shared.flat_gradient.zero_()
        models: dict[int, LanguageModel] = {}
        nats = torch.zeros(len(archs), device=self.shared.device)
        parts = self.batch(step).chunk(self.training.accumulate)
        for k, part in enumerate(parts):
            # The logits of the largest network, the first one, are the targets of the others.
            logits: list[ChunkLogits] = []
            for i, arch in enumerate(archs):
                # A model is built while the device computes the one before it.
                model = models.pop(i, None) or self.model(arch, is_kept=i < 2)
                teacher = Teacher(logits, self.distillation) if i else None
                loss = self.loss(model, part, teacher, None if i or len(archs) == 1 else logits)
                (loss.loss / (len(archs) * len(parts))).backward()  # type: ignore[no-untyped-call]
                nats[i] += loss.nats / len(parts)
                if k < len(parts) - 1:
                    models[i] = model
                else:
                    self.finish(model, is_kept=i < 2)
        self.group.average(self.shared.flat_gradient)
        self.group.average(nats)
        return nats[0], nats[1] if len(nats) > 1 else nats[0] * math.nan

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

    def finish(self, model: LanguageModel, *, is_kept: bool) -> None:
        """Add what is missing of a model's gradient, and count its operations."""
        self.flops += self.batch_tokens * model.training_flops_per_token()
        self.shared.add_gradients(model)
        if not is_kept:
            self.code.detach(model)

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
