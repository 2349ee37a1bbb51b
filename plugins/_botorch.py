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
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from linear_operator import to_linear_operator
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor

from hwnas.spaces import SearchSpace
from hwnas.spaces.choice_features import layer_features, outside_features
from hwnas.typing import Array, Codes, IndexArray

State = Mapping[str, Any]  # hyperparameters of one Gaussian process, by name


class Features:
    """Features of architectures for a Gaussian process, scaled to about [0, 1].

    The first features summarize an architecture: the choices outside the layers, and for each
    choice of a layer its mean over the layers and its trend from the first layer to the last.
    Latency, energy and perplexity depend nearly on these alone, and their number does not grow
    with depth. The choices of every single layer follow. A column without an order has an indicator
    for each choice (`choice_features`).

    Parameters
    ----------
    space
        Search space of the codes.

    Attributes
    ----------
    n_summary, n_layered : int
        Number of features that summarize an architecture, and of those of single layers.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        no_codes = np.zeros((0, len(space.columns)), dtype=np.int8)
        _, depth, per_layer = layer_features(space, no_codes).shape
        self.n_summary = outside_features(space, no_codes).shape[1] + 2 * per_layer
        self.n_layered = depth * per_layer

    def __call__(self, codes: Codes) -> Tensor:
        """Return the features (n, n_summary + n_layered) of codes (n, d), float64."""
        outside = outside_features(self._space, codes)
        if self.n_layered == 0:
            return torch.from_numpy(outside)
        choices = layer_features(self._space, codes)
        trend = np.linspace(-1.0, 1.0, choices.shape[1])[:, None]
        parts = [
            outside,
            choices.mean(axis=1),
            0.5 + 2 * (choices * trend).mean(axis=1),
            choices.reshape(len(codes), -1),
        ]
        return torch.from_numpy(np.concatenate(parts, axis=1))


class FixedProcess:
    """Posterior of one outcome with fixed hyperparameters, factored once.

    Parameters
    ----------
    model : SingleTaskGP
        Gaussian process of one outcome, from `_create_model`.
    x : (r, f)
        Features of the architectures that stay in the list, whose covariance is computed once.
    """

    def __init__(self, model: Any, x: Tensor) -> None:
        self._model = model
        (self._train,) = self._model.train_inputs
        noise = self._model.likelihood.noise.expand(len(self._train))
        covariance = self._kernel(self._train, self._train) + torch.diag(noise)
        self._factor = psd_safe_cholesky(covariance)
        residual = self._model.train_targets - self._model.mean_module(self._train)
        self._alpha = torch.cholesky_solve(residual[:, None], self._factor)[:, 0]
        # Outcomes are standardized: y = offset + scale * z.
        transform = self._model.outcome_transform
        self._offset, self._scale = transform.means[0, 0], transform.stdvs[0, 0]
        self._fixed, (self._mean, self._solved) = x, self._condition(x)
        self._covariance = self._kernel(x, x) - self._solved.T @ self._solved

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joint mean (r + k,) and covariance of fixed and further architectures."""
        mean, solved = self._condition(x)
        cross = self._kernel(self._fixed, x) - self._solved.T @ solved
        own = self._kernel(x, x) - solved.T @ solved
        rows = [torch.cat([self._covariance, cross], dim=1), torch.cat([cross.T, own], dim=1)]
        scale = self._scale
        return torch.cat([self._mean, mean]) * scale + self._offset, torch.cat(rows) * scale**2

    def _condition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return posterior means (k,) and L^-1 K(train, x), (n, k), L the factor."""
        cross = self._kernel(self._train, x)
        solved = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        return self._model.mean_module(x) + cross.T @ self._alpha, solved

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        covariance: Tensor = self._model.covar_module(a, b).to_dense()
        return covariance


class CachedPosterior(GPyTorchModel):
    """Posterior of a list of architectures, computed once; inputs are indices into the list.

    An acquisition function evaluates each candidate jointly with the same baseline. Given
    features, BoTorch would compute the covariance of the baseline again for each candidate, which
    takes nearly all the time of a proposal.

    Parameters
    ----------
    model
        Model of o outcomes.
    x : (r, f)
        Features of the architectures that stay in the list.
    """

    def __init__(self, model: ModelListGP, x: Tensor) -> None:
        super().__init__()
        processes: Any = model.models
        self._processes = [FixedProcess(process, x) for process in processes]
        self._n_fixed = len(x)
        self.extend(x[:0])

    @property
    def num_outputs(self) -> int:
        """Number o of outcomes."""
        return len(self._processes)

    @property
    def batch_shape(self) -> torch.Size:
        """Empty batch shape."""
        return torch.Size()

    def extend(self, x: Tensor) -> Tensor:
        """Append architectures to those that stay, in place of any appended before.

        Parameters
        ----------
        x : (k, f)

        Returns
        -------
        (k, 1) float64
            Their indices.
        """
        # One joint normal for each outcome, over the whole list.
        means, covariances = zip(*(process.joint(x) for process in self._processes), strict=True)
        self._mean, self._covariance = torch.stack(means), torch.stack(covariances)  # (o, r + k)
        return index_column(self._n_fixed, self._n_fixed + len(x))

    def fixed(self, j: int) -> tuple[Array, Array]:
        """Return mean (r,) and covariance (r, r) of outcome j at the architectures that stay."""
        r = self._n_fixed
        return self._mean[j, :r].numpy(), self._covariance[j, :r, :r].numpy()

    def conditionals(self, j: int, index: IndexArray) -> tuple[Array, Array, Array]:
        """Return means (k,), covariances with those that stay (k, r), and variances (k,)."""
        covariance = self._covariance[j].numpy()
        cross = covariance[index, : self._n_fixed]
        return self._mean[j].numpy()[index], cross, covariance[index, index]

    def posterior(self, X: Tensor, *args: Any, **kwargs: Any) -> GPyTorchPosterior:
        """Return the joint normal (..., q, o) of the architectures at indices X (..., q, 1)."""
        index = X[..., 0].long()
        mean = self._mean[:, index]
        covariance = self._covariance[:, index[..., :, None], index[..., None, :]]
        # As operators: torch would decompose each covariance to validate it.
        normals = [
            MultivariateNormal(mu, to_linear_operator(sigma))
            for mu, sigma in zip(mean, covariance, strict=True)
        ]
        return GPyTorchPosterior(MultitaskMultivariateNormal.from_independent_mvns(normals))


def index_column(start: int, stop: int) -> Tensor:
    """Return the indices from `start` up to `stop` as a column (stop - start, 1), float64.

    >>> index_column(2, 4).tolist()
    [[2.0], [3.0]]
    """
    return torch.arange(start, stop, dtype=torch.float64)[:, None]


def fit_models(
    features: Features, x: Tensor, y: Array, std: Array, states: list[State | None], steps: int
) -> ModelListGP:
    """Fit one Gaussian process for each outcome by maximum a posteriori.

    Parameters
    ----------
    features
        Features that `x` consists of.
    x : (n, f)
    y, std : (n, o)
        Outcomes and their standard errors, 0 where outcomes are exact.
    states : o
        Initial hyperparameters, None for those of the priors.
    steps
        Maximum number of optimization steps; 0 uses the hyperparameters unchanged.
    """
    models = []
    for j, state in enumerate(states):
        outcome, error = torch.from_numpy(y[:, [j]]), torch.from_numpy(std[:, [j]])
        model = _create_model(features, x, outcome, error)
        # Not strict, because a state lacks the scaling of the outcomes.
        if state is not None:
            model.load_state_dict(dict(state), strict=False)
        if steps:
            likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
            # If the line search fails, BoTorch restores the initial hyperparameters.
            with warnings.catch_warnings(), contextlib.suppress(ModelFittingError):
                warnings.simplefilter("ignore")  # the step limit is intended
                fit_gpytorch_mll(
                    likelihood, optimizer_kwargs={"options": {"maxiter": steps}}, max_attempts=1
                )
        models.append(model.eval())
    return ModelListGP(*models)


def extract_hyperparameters(model: ModelListGP) -> list[State | None]:
    """Return kernels, noise and means for `fit_models`, without the scaling of the outcomes."""
    return [
        {k: v for k, v in m.state_dict().items() if not k.startswith("outcome_transform")}
        for m in model.models
    ]


def _flat_kernel(d: int) -> Kernel:
    """Return the kernel of a space without layers, over `d` features.

    Its length scales are long a priori, and grow with the square root of the number of features
    (Hvarfner, Hellsten and Nardi, "Vanilla Bayesian optimization performs great in high
    dimensions", ICML 2024). Under shorter ones a corner of the space looks better than the
    neighborhood of the front. The outcomes are standardized, so no output scale is fitted.
    """
    kernel = MaternKernel(
        nu=2.5,
        ard_num_dims=d,
        lengthscale_prior=LogNormalPrior(np.sqrt(2) + np.log(d) / 2, np.sqrt(3)),
    )
    kernel.lengthscale = np.sqrt(d)
    return kernel


def _layered_kernel(features: Features) -> Kernel:
    """Return a kernel over the summary, one length scale each, plus a smaller one over layers."""
    s = features.n_summary
    summary = MaternKernel(
        nu=2.5,
        ard_num_dims=s,
        active_dims=tuple(range(s)),
        # The typical distance grows with the square root of the number of features; a GPT space
        # has seven.
        lengthscale_prior=LogNormalPrior(0.3 + max(0.0, np.log(s / 7) / 2), 1.0),
    )
    layered = RBFKernel(
        active_dims=tuple(range(s, s + features.n_layered)),
        lengthscale_prior=LogNormalPrior(np.log(features.n_layered) / 2, 0.7),
    )
    return ScaleKernel(summary, outputscale_prior=GammaPrior(2.0, 0.5)) + ScaleKernel(
        layered, outputscale_prior=GammaPrior(1.5, 20.0)
    )


def _create_model(features: Features, x: Tensor, y: Tensor, std: Tensor) -> SingleTaskGP:
    """Return the Gaussian process of an outcome (n, 1), with initial hyperparameters."""
    kernel = _layered_kernel(features) if features.n_layered else _flat_kernel(x.shape[1])
    noisy = bool((std > 0).any())
    likelihood = None
    if not noisy:
        # The part of an exact outcome that the features miss is modeled as small noise.
        likelihood = GaussianLikelihood(
            noise_prior=LogNormalPrior(-9.0, 1.5), noise_constraint=GreaterThan(1e-7)
        )
        likelihood.noise = 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BotorchWarning)  # features are scaled on purpose
        return SingleTaskGP(
            x,
            y,
            # A lower limit on known noise keeps the covariance positive definite.
            train_Yvar=std.square().clamp_min(1e-8 * float(y.var()) + 1e-30) if noisy else None,
            likelihood=likelihood,
            covar_module=kernel,
            outcome_transform=Standardize(1),
        )
