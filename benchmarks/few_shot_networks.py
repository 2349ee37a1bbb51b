"""Few-shot latency predictors of the literature, as small networks trained on known devices.

`MetaRegressor` follows HELP (Lee et al. 2021, "Hardware-adaptive Efficient Latency Prediction for
NAS via Meta-Learning"): features are trained so that few measurements of a new device suffice. Its
inner loop is a ridge regression (Bertinetto et al. 2019, "Meta-learning with differentiable
closed-form solvers") in place of gradient steps. `DeviceEmbedding` follows NASFLAT (Akhauri and
Abdelfattah 2024, "On Latency Predictors for Neural Architecture Search"): one network with an
embedding of the device, which starts from the most similar known one and is tuned, with the
network, to the measurements. Both predict logarithms of latencies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from few_shot_baselines import features
from torch import Tensor, nn

from hwnas.spaces import LanguageModelSpace
from hwnas.typing import Array, Codes, IndexArray

POINTS = (6, 10, 20, 40)  # sizes of the sets of measurements that training imitates
_STEPS, _RATE = 1000, 3e-3
_QUERIES = 128  # architectures of a step that are predicted
_HIDDEN, _FEATURES, _EMBEDDING = 64, 32, 8
_TUNING_STEPS, _TUNING_RATE = 60, 3e-3


def inputs(space: LanguageModelSpace, codes: Codes) -> Array:
    """Return standardized inputs (n, k): `features`, and the choices of each layer."""
    active = space.active(codes)
    layers = np.where(active, codes / np.maximum(space.cardinalities - 1, 1) - 0.5, 0.0)
    width = np.eye(int(space.cardinalities[0]))[codes[:, 0].astype(int)]
    x = np.concatenate([features(space, codes), layers, width], axis=1)
    return np.asarray((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9))


class MetaRegressor(nn.Module):
    """A mean over devices, and features of which a device is a linear combination."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.mean = _WithLinear(n_inputs, 1)
        self.features = _WithLinear(n_inputs, _FEATURES)
        self.log_penalty = nn.Parameter(torch.tensor(-2.0))

    def forward(self, points: Tensor, values: Tensor, queries: Tensor) -> Tensor:
        """Predict queries (q, k) -> (q, m), given points (n, k) of m devices with values (n, m)."""
        phi, psi = (torch.cat([_ones(x), self.features(x)], dim=1) for x in (points, queries))
        # Ridge regression in its dual form: weights phi' (phi phi' + penalty)^-1 residuals.
        gram = phi @ phi.T + self.log_penalty.exp() * torch.eye(len(points))
        weights = phi.T @ torch.linalg.solve(gram, values - self.mean(points))
        return self.mean(queries) + psi @ weights

    def predict(self, x: Array, y: Array, i: IndexArray, h: IndexArray) -> Array:
        """Return values at `h` from those at `i`; x (n, k) are inputs, y (n,) values.

        The penalty is chosen by leave-one-out: that of training suits known devices.
        """
        with torch.no_grad():
            points, queries = _tensor(x[i]), _tensor(x[h])
            phi, psi = (
                torch.cat([_ones(a), self.features(a)], dim=1).double().numpy()
                for a in (points, queries)
            )
            means, start = self.mean(points)[:, 0].numpy(), self.mean(queries)[:, 0].numpy()
        logs = np.log(y[i])
        level = float((logs - means).mean())
        residuals, best = logs - means - level, (np.inf, np.zeros(phi.shape[1]))
        for penalty in float(self.log_penalty.detach().exp()) * 10.0 ** np.arange(5):
            inverse = np.linalg.inv(phi @ phi.T + penalty * np.eye(len(phi)))
            error = float(((inverse @ residuals / inverse.diagonal()) ** 2).mean())
            best = min(best, (error, phi.T @ inverse @ residuals), key=lambda pair: pair[0])
        return np.asarray(np.exp(start + psi @ best[1] + level))


class DeviceEmbedding(nn.Module):
    """A network of inputs and an embedding of the device."""

    def __init__(self, n_inputs: int, n_devices: int) -> None:
        super().__init__()
        self.network = _perceptron(n_inputs + _EMBEDDING, 1)
        self.embedding = nn.Parameter(0.1 * torch.randn(n_devices, _EMBEDDING))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Predict x (n, k) -> (n, m) of devices with embeddings (m, c)."""
        n, m = len(x), len(embedding)
        pairs = [x[:, None].expand(n, m, -1), embedding[None].expand(n, m, -1)]
        return self.network(torch.cat(pairs, dim=2))[:, :, 0]

    def predict(self, x: Array, y: Array, i: IndexArray, h: IndexArray) -> Array:
        """Return values at `h` from those at `i`; x (n, k) are inputs, y (n,) values."""
        model = copy.deepcopy(self)
        points, logs = _tensor(x[i]), _tensor(np.log(y[i]))
        with torch.no_grad():
            errors = logs[:, None] - model(points, model.embedding)
            nearest = int(errors.std(dim=0).argmin())
            shift = errors[:, nearest].mean()
        own = nn.Parameter(model.embedding[nearest : nearest + 1].detach().clone())
        optimizer = torch.optim.Adam(
            [
                {"params": model.network.parameters(), "lr": 0.1 * _TUNING_RATE},
                {"params": [own], "lr": 3 * _TUNING_RATE},
            ]
        )
        for _ in range(_TUNING_STEPS):
            optimizer.zero_grad()
            loss = ((model(points, own)[:, 0] + shift - logs) ** 2).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return np.asarray(np.exp((model(_tensor(x[h]), own)[:, 0] + shift).numpy()))


def train_meta_regressor(x: Array, values: Array, seed: int) -> MetaRegressor:
    """Return a regressor trained on inputs (n, k) and values (n, m) of m devices."""
    torch.manual_seed(seed)
    rng, model = np.random.default_rng(seed), MetaRegressor(x.shape[1])
    inputs_, logs = _tensor(x), _tensor(np.log(values))

    def loss() -> Tensor:
        size = int(rng.choice(POINTS))
        batch = rng.choice(len(x), size + _QUERIES, replace=False)
        points, queries = batch[:size], batch[size:]
        level = logs[points].mean(dim=0)
        out = model(inputs_[points], logs[points] - level, inputs_[queries])
        return (out + level - logs[queries]).square().mean()

    _train(model, loss)
    return model


def train_device_embedding(x: Array, values: Array, seed: int) -> DeviceEmbedding:
    """Return a network trained on inputs (n, k) and values (n, m) of m devices."""
    torch.manual_seed(seed)
    rng, model = np.random.default_rng(seed), DeviceEmbedding(x.shape[1], values.shape[1])
    logs = np.log(values)
    inputs_, targets = _tensor(x), _tensor(logs - logs.mean(axis=0))

    def loss() -> Tensor:
        batch = rng.choice(len(x), _QUERIES // 2, replace=False)
        return (model(inputs_[batch], model.embedding) - targets[batch]).square().mean()

    _train(model, loss)
    return model


def _train(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _perceptron(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, _HIDDEN),
        nn.SiLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.SiLU(),
        nn.Linear(_HIDDEN, n_outputs),
    )


class _WithLinear(nn.Module):
    """A perceptron beside a linear map: latencies are nearly sums over layers."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_inputs, n_outputs)
        self.curved = _perceptron(n_inputs, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.curved(x)


def _ones(x: Tensor) -> Tensor:
    return torch.ones(len(x), 1)


def _tensor(array: Array) -> Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)
