"""An outside package, written from the documents alone: a family, a backend and an optimizer."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

import hwnas
from hwnas.errors import InvalidInput
from hwnas.optimizers import UniqueSampler


class Mixer(hwnas.SearchSpace):
    """MLP-Mixers; every block has its own width of the mixing of tokens and of channels."""

    family = "mixer"
    closed_forms = ("params",)
    named: ClassVar = {"mixer-s": {"depth": [2, 4], "tokens": [8, 16], "channels": [32, 64, 128]}}

    def __init__(
        self,
        name: str,
        *,
        depth: Sequence[int],
        tokens: Sequence[int],
        channels: Sequence[int],
        patches: int = 49,
    ) -> None:
        super().__init__(
            name,
            {"depth": depth, "patch": ["small", "large"]},
            layers={"tokens": tokens, "channels": channels},
        )
        values = [*self.layers["tokens"], *self.layers["channels"], patches]
        if min(self.depths) < 1 or any(type(v) is not int or v < 1 for v in values):
            raise InvalidInput(
                f"expected a block or more and positive integers, found depth {depth}, {values}"
            )
        self.patches = patches

    def to_dict(self) -> dict[str, Any]:
        """Return the settings of the space."""
        return {
            "family": self.family,
            "name": self.name,
            "depth": list(self.choices["depth"]),
            "tokens": list(self.layers["tokens"]),
            "channels": list(self.layers["channels"]),
            "patches": self.patches,
        }

    def params(self, codes: Any) -> Any:
        """Return the number of weights (n,) of codes (n, d)."""
        return self._sum_of_blocks(codes, 2 * self.patches, 2 * 64) + 64 * self.patches

    def _sum_of_blocks(self, codes: Any, per_token: int, per_channel: int) -> Any:
        """Return the sum over blocks of weighted widths (n,)."""
        codes = np.asarray(codes).astype(int)
        blocks = codes[:, self.layer_columns]  # (n, L, 2)
        present = self.active(codes)[:, self.layer_columns[:, 0]]  # (n, L)
        tokens = np.array(self.layers["tokens"])[blocks[:, :, 0]]
        channels = np.array(self.layers["channels"])[blocks[:, :, 1]]
        return ((per_token * tokens + per_channel * channels) * present).sum(axis=1)


class Desk(hwnas.Backend):
    """Estimates at a desk: milliseconds by a rate, and an error that falls with the size."""

    metrics: ClassVar = {"time": hwnas.Metric("ms"), "error": hwnas.Metric("")}

    def __init__(self, space: Any, *, mflops: float = 10.0) -> None:
        super().__init__(space)
        self.mflops = mflops

    def evaluate(
        self, codes: Any, objectives: Any, *, seeds: Any, fidelity: Any = None
    ) -> hwnas.Evaluation:
        """Return the estimates of codes (n, d)."""
        size = self.space.params(codes).astype(float)
        columns = {"time": size / self.mflops / 1e3, "error": 100 / np.sqrt(size)}
        return hwnas.Evaluation(np.stack([columns[o.key] for o in objectives], axis=1))


class Ladder(hwnas.Optimizer):
    """Climbs from random members of the front to their neighbours, `rungs` at a time."""

    handles_constraints = True

    def __init__(
        self, space: Any, n_objectives: int, *, seed: int, n_constraints: int = 0, rungs: int = 2
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        self.rungs, self.sampler = rungs, UniqueSampler(space, self.rng)

    def ask(self, n: int) -> Any:
        """Return at most n new codes (k, d)."""
        codes = self.recommend()
        for _ in range(self.rungs if len(codes) else 0):
            codes = np.stack([self.rng.choice(self.space.neighbours(code)) for code in codes])
        new = self.sampler.take(self.rng.permutation(codes)[:n]) if len(codes) else codes
        return new if len(new) else self.sampler.sample(n)

    def update(self, codes: Any, losses: Any, *, std: Any = None, constraints: Any = None) -> None:
        """Note what was evaluated."""
        self.sampler.take(codes)
