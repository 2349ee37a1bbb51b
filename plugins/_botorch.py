"""Gaussian processes over integer codes (BoTorch)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.gpytorch import GPyTorchModel
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.transforms.outcome import Standardize
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.constraints import GreaterThan
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator import to_linear_operator
from torch import Tensor

from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

State = Mapping[str, Any]


class Features:
    """What a Gaussian process sees of a network: numbers about between 0 and 1.

    First those that sum a network up: the choices outside the layers, and of each choice that
    layers have its sum over the layers and how the sum leans from the first layers to the last.
    They carry nearly all of what latency, energy and perplexity depend on, in few dimensions
    however deep the network. Then every layer's own choices, for the rest.

    Parameters
    ----------
    space
        Whose codes are given.
    """

    def __init__(self, space: SearchSpace) -> None:
        layers = np.array([group.columns for group in space.groups], dtype=np.intp)
        self._layers = layers.reshape(len(space.groups), -1)  # (L, choices of a layer)
        inside = set(self._layers.ravel().tolist())
        self._outside = [j for j in range(len(space.columns)) if j not in inside]
        self._space = space
        self._scale = np.maximum(space.cardinalities - 1, 1)
        self.n_summary = len(self._outside) + 2 * self._layers.shape[1]
        self.n_layered = self._layers.size

    def __call__(self, codes: Codes) -> Tensor:
        """Features (n, n_summary + n_layered), float64."""
        scaled = codes / self._scale
        outside = scaled[:, self._outside]
        depth = len(self._layers)
        if depth == 0:
            return torch.from_numpy(outside)
        # Half a step for being there at all, so that an absent layer differs from the least one.
        present = self._space.active(codes)[:, self._layers]  # (n, L, choices)
        chosen = present * (scaled[:, self._layers] + 0.5) / 1.5
        lean = np.linspace(-1.0, 1.0, depth)[:, None]
        parts = [
            outside,
            chosen.mean(axis=1),
            0.5 + 2 * (chosen * lean).mean(axis=1),
            chosen.reshape(len(codes), -1),
        ]
        return torch.from_numpy(np.concatenate(parts, axis=1))


class Listed(GPyTorchModel):
    """A model's posterior of a list of networks; its inputs are their places in the list.

    An acquisition function looks at each candidate together with the same baseline. Given
    features, BoTorch would work out the baseline's covariance again beside each of them, which is
    nearly all that a proposal costs; here it is worked out once.

    Parameters
    ----------
    model
        Of o outcomes.
    x : (r, f)
        Features of networks that stay in the list.
    """

    def __init__(self, model: ModelListGP, x: Tensor) -> None:
        super().__init__()
        self._models: Any = model.models
        self._stay = x
        self.extend(x[:0])

    @property
    def num_outputs(self) -> int:
        """How many outcomes."""
        return len(self._models)

    @property
    def batch_shape(self) -> torch.Size:
        """None."""
        return torch.Size()

    def extend(self, x: Tensor) -> Tensor:
        """Put networks behind those that stay, in place of any put there before.

        Parameters
        ----------
        x : (k, f)

        Returns
        -------
        (k, 1) float64
            Their places.
        """
        everything = torch.cat([self._stay, x])
        posteriors = [m.posterior(everything).distribution for m in self._models]
        self._mean = torch.stack([p.mean for p in posteriors])  # (o, r + k)
        self._covariance = torch.stack([p.covariance_matrix for p in posteriors])
        return places(len(self._stay), len(everything))

    def posterior(self, X: Tensor, *args: Any, **kwargs: Any) -> GPyTorchPosterior:
        """Joint normal (..., q, o) of networks at the places X (..., q, 1)."""
        at = X[..., 0].long()
        mean = self._mean[:, at]
        covariance = self._covariance[:, at[..., :, None], at[..., None, :]]
        # As operators, or torch would decompose each of them to see whether it can be.
        normals = [
            MultivariateNormal(mu, to_linear_operator(sigma))
            for mu, sigma in zip(mean, covariance, strict=True)
        ]
        return GPyTorchPosterior(MultitaskMultivariateNormal.from_independent_mvns(normals))


def places(start: int, stop: int) -> Tensor:
    """Places (k, 1) in a list from one up to another, float64."""
    return torch.arange(start, stop, dtype=torch.float64)[:, None]


def fitted(
    features: Features, x: Tensor, y: Array, std: Array, states: list[State | None], steps: int
) -> ModelListGP:
    """One Gaussian process for each outcome, hyperparameters by marginal likelihood.

    Parameters
    ----------
    features
        What made `x`.
    x : (n, f)
    y, std : (n, o)
        Outcomes and their known standard errors, 0 where they are exact.
    states : o
        Hyperparameters to start from, `None` for the priors' own.
    steps
        Most steps of the optimizer; 0 takes the states as they are.
    """
    models = []
    for j, state in enumerate(states):
        model = _made(features, x, torch.from_numpy(y[:, [j]]), torch.from_numpy(std[:, [j]]))
        if state is not None:
            model.load_state_dict(dict(state), strict=False)
        if steps:
            likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
            # Where the line search finds nothing better it fails, and the state is as it was.
            with warnings.catch_warnings(), contextlib.suppress(ModelFittingError):
                warnings.simplefilter("ignore")  # it stops early, as it is told to
                fit_gpytorch_mll(
                    likelihood, optimizer_kwargs={"options": {"maxiter": steps}}, max_attempts=1
                )
        models.append(model.eval())
    return ModelListGP(*models)


def hyperparameters(model: ModelListGP) -> list[State | None]:
    """What `fitted` can start from again: kernels, noise and means, without the data's scaling."""
    return [
        {k: v for k, v in m.state_dict().items() if not k.startswith("outcome_transform")}
        for m in model.models
    ]


def _made(features: Features, x: Tensor, y: Tensor, std: Tensor) -> SingleTaskGP:
    s = features.n_summary
    kernel = ScaleKernel(
        MaternKernel(
            nu=2.5,
            ard_num_dims=s,
            active_dims=tuple(range(s)),
            lengthscale_prior=LogNormalPrior(0.3, 1.0),
        ),
        outputscale_prior=GammaPrior(2.0, 0.5),
    )
    if features.n_layered:
        layered = RBFKernel(
            active_dims=tuple(range(s, s + features.n_layered)),
            lengthscale_prior=LogNormalPrior(np.log(features.n_layered) / 2, 0.7),
        )
        kernel = kernel + ScaleKernel(layered, outputscale_prior=GammaPrior(1.5, 20.0))
    noisy = bool((std > 0).any())
    likelihood = None
    if not noisy:
        # What the features miss of an exact outcome looks like a little noise.
        likelihood = GaussianLikelihood(
            noise_prior=LogNormalPrior(-9.0, 1.5), noise_constraint=GreaterThan(1e-7)
        )
        likelihood.noise = 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)  # features are scaled on purpose
        return SingleTaskGP(
            x,
            y,
            train_Yvar=std.square().clamp_min(1e-8 * float(y.var()) + 1e-30) if noisy else None,
            likelihood=likelihood,
            covar_module=kernel,
            outcome_transform=Standardize(1),
        )
