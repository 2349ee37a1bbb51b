"""Additive models of all objectives and constraints, kept up to date with the observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.additive.choice import AnyEffects, create_effects
from hwnas.additive.effects import Effects
from hwnas.additive.factored_model import add_factors
from hwnas.additive.model import AdditiveModel, Design, fit_model
from hwnas.additive.transferred_effects import TransferredEffects, transfer_terms
from hwnas.errors import InvalidInput
from hwnas.history import History
from hwnas.related_trials import RelatedTrials
from hwnas.typing import Array, Codes

_MAX_SCALE_COMPARISONS = 64  # architectures beyond which the scale of an objective is fixed
_REFIT_GROWTH = 1.1  # growth of the number of architectures after which variances are fitted again
_FIRST_STEPS, _STEPS = 20, 5  # of the first fit of variances, and of later ones

Infeasible = Sequence[tuple[Codes, Array]]  # codes (k, d) and violations (k, c), NaN if unknown


class OutcomeModels:
    """One additive model for each objective, then one for each constraint violation.

    Parameters
    ----------
    n_objectives
        Number m of objectives.
    factors
        Whether layers have factors where there is no noise, see `hwnas.additive.layer_factors`.
    """

    def __init__(self, n_objectives: int, *, factors: bool = True) -> None:
        self.n_objectives, self.factors = n_objectives, factors
        self._models: list[AdditiveModel] = []
        self._plain: list[AdditiveModel] = []  # without factors, at the last fit of variances
        # Of an earlier search, by outcome: its data, or effects with its terms.
        self._known: dict[int, tuple[Codes, Array, Array]] = {}
        self._transferred: dict[int, TransferredEffects] = {}
        self._n_results = 0  # number of results that the models include
        self._refit_at = 0  # number of architectures at which variances are fitted again

    def learn(self, effects: AnyEffects, related: RelatedTrials) -> None:
        """Use values of an earlier search: as data, or as terms whose weights are learned.

        Parameters
        ----------
        effects
            Effects of the search space.
        related
            Trials of the earlier search.

        Raises
        ------
        InvalidInput
            Terms cannot be transferred: a space without layers, or one of other choices.
        """
        for j, values, std, is_same in zip(
            related.outcomes.tolist(), related.values.T, related.std.T, related.is_same, strict=True
        ):
            if is_same:
                self._known[j] = related.codes, values, std
                continue
            source = create_effects(related.space)
            if not (isinstance(source, Effects) and isinstance(effects, Effects)):
                raise InvalidInput(
                    f"{related.space.name}: what was learned of other metrics or spaces is "
                    "transferred layer by layer; expected a space with layers"
                )
            model = fit_model(source, Design(source, related.codes), values, std)
            if self.factors and not std.any():
                model = add_factors(model, values, std)
            self._transferred[j] = TransferredEffects(effects, transfer_terms(model, effects))

    def fit(
        self, effects: AnyEffects, history: History, infeasible: Infeasible
    ) -> list[AdditiveModel]:
        """Return models of all results; they are the last ones if there are no new results.

        Parameters
        ----------
        effects
            Effects of the search space.
        history
            Observations.
        infeasible
            Architectures without losses, from which the models of violations learn.
        """
        n_results = len(history) + len(infeasible)
        # Results are never removed, so that their number identifies them.
        if self._n_results == n_results:
            return self._models
        codes, losses, std, violations = history.averaged()
        design = Design(effects, codes)
        outcomes = np.concatenate([losses, violations], axis=1)  # (n, m + c)
        errors = np.concatenate([std, np.zeros_like(violations)], axis=1)
        n, steps = len(codes), self._fit_steps(len(codes))
        models, plain_models = [], []
        for j in range(outcomes.shape[1]):
            data = design, outcomes[:, j], errors[:, j]
            constraint = j - self.n_objectives
            # Searches that stop at a violated constraint have violations without losses.
            if constraint >= 0 and infeasible:
                data = _append_infeasible(effects, codes, outcomes[:, j], infeasible, constraint)
            if j in self._known:
                data = _append_known(effects, *data, self._known[j])
            scales = self._candidate_scales(j, n, steps)
            previous = self._models[j] if self._models else None
            if previous is not None and steps == 0:
                fitted = previous.effects, *data
                models.append(fit_model(*fitted, previous=previous, scales=scales, steps=0))
                continue
            earlier = self._plain[j] if self._plain else None
            own_effects = self._transferred.get(j, effects)
            plain = fit_model(own_effects, *data, previous=earlier, scales=scales, steps=steps)
            plain_models.append(plain)
            # Under noise a profile is too uncertain to be fixed: factors gain nothing.
            if self.factors and not std.any():
                models.append(add_factors(plain, *data[1:], previous=previous, steps=steps))
            else:
                models.append(plain)
        if steps:
            self._plain = plain_models
        self._models, self._n_results = models, n_results
        if steps:
            self._refit_at = int(_REFIT_GROWTH * n) + 1
        return models

    def _fit_steps(self, n: int) -> int:
        """Return the number of optimization steps for variances, with `n` architectures."""
        if n < self._refit_at:
            return 0
        return _STEPS if self._models else _FIRST_STEPS

    def _candidate_scales(self, j: int, n: int, steps: int) -> tuple[bool, ...]:
        """Return the scales among which the evidence decides; True stands for the logarithm."""
        if j >= self.n_objectives:
            return (False,)  # the zero of a violation matters
        if self._models and (steps == 0 or n > _MAX_SCALE_COMPARISONS):
            return (self._models[j].scale.logarithmic,)
        return (False, True)


def _append_known(
    effects: AnyEffects,
    design: Design,
    values: Array,
    std: Array,
    known: tuple[Codes, Array, Array],
) -> tuple[Design, Array, Array]:
    """Append known codes, values and standard errors, except of architectures measured again."""
    measured = {code.tobytes() for code in design.codes}
    is_new = [code.tobytes() not in measured for code in known[0]]
    codes, *columns = (part[is_new] for part in known)
    return (
        Design(effects, np.concatenate([design.codes, codes])),
        np.concatenate([values, columns[0]]),
        np.concatenate([std, columns[1]]),
    )


def _append_infeasible(
    effects: AnyEffects, codes: Codes, violations: Array, infeasible: Infeasible, j: int
) -> tuple[Design, Array, Array]:
    """Return the design, violations and standard errors of constraint j, all results included.

    Parameters
    ----------
    effects
        Effects of the search space.
    codes : (n, d)
    violations : (n,)
        Observed violations of constraint j.
    infeasible
        Further architectures; those whose violation j was not measured are left out.
    j
        Index of the constraint.
    """
    added, values = (np.concatenate(parts) for parts in zip(*infeasible, strict=True))
    measured = np.isfinite(values[:, j])
    design = Design(effects, np.concatenate([codes, added[measured]]))
    violations = np.concatenate([violations, values[measured, j]])
    return design, violations, np.zeros(len(violations))
