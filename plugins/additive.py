"""Bayesian optimization with a model that adds up over layers."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.additive.choice import create_effects
from hwnas.additive.effects import Effects
from hwnas.additive.model import AdditiveModel, Design
from hwnas.additive.scalarized_front import scalarized_front, weight_vectors
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.related_trials import RelatedTrials
from hwnas.spaces import SearchSpace
from hwnas.typing import Array, Codes, IndexArray

from ._candidates import mutate_and_crossover
from ._hypervolume_improvement import HypervolumeImprovement, create_improvement
from ._initial_design import corner_design, extreme_design, latin_hypercube
from ._outcome_models import OutcomeModels

_N_WEIGHTS = 48  # weighted sums whose minimizers approximate the front of a table
_N_MEAN_WEIGHTS = 400  # of those of the mean's table, fewer if tables are large
_MAX_SUMS = 3_000_000  # entries of all weighted sums of the mean's table
_N_HYPERCUBE = 16  # configurations of the initial design where layers do not add up
_N_INFEASIBLE = 30  # infeasible candidates from each table, of least violation
_MAX_CANDIDATES = 1500  # from fronts of tables, for one proposal
_MAX_DRAWN = 150  # candidates whose outcomes are drawn
_N_CHILDREN = 100  # candidates by mutation and crossover, for effects that do not add up
_PLAN_FRACTION = 25  # one architecture is planned ahead for every 25 evaluated ones
_MAX_INFEASIBLE_PARENTS = 10  # architectures of least violation, while none is feasible
_MAX_BASELINE = 100  # architectures that may be on the front, under noise


class Additive(Optimizer):
    """Bayesian optimization with a model that adds up over layers, or over single choices.

    Every objective is modeled as a sum of effects of layers, which are similar between layers and
    can be learned from few architectures, plus a Gaussian process of summary features for the
    part that does not add up. In a space without layers, or of many combinations outside them,
    every choice has an effect of its own. A posterior draw of the sums is a table, whose front is
    found layer by layer. The architectures of these fronts are candidates, and those are proposed
    that have the largest expected hypervolume improvement together.

    Parameters
    ----------
    tables
        Number of posterior draws, besides the mean, whose fronts are candidates.
    draws
        Number of draws of the candidates' objectives over which the improvement is averaged; 0
        uses their means alone.
    unseen
        Whether, under noise, architectures may be recommended that were never measured.

    References
    ----------
    The model and measurements of it: ``docs/additive.md``. Improvement: Emmerich, Giannakoglou
    and Naujoks, "Single- and multiobjective evolutionary optimization assisted by Gaussian random
    field metamodels", IEEE Transactions on Evolutionary Computation 2006.
    """

    batch = 4
    asynchronous = True

    def __init__(
        self,
        space: SearchSpace,
        n_objectives: int,
        *,
        seed: int,
        n_constraints: int = 0,
        tables: int = 8,
        draws: int = 32,
        unseen: bool = True,
    ) -> None:
        super().__init__(space, n_objectives, seed=seed, n_constraints=n_constraints)
        if not 2 <= n_objectives <= 5:
            raise InvalidInput(f"n_objectives: expected 2 to 5, found {n_objectives}")
        for name, value in (("tables", tables), ("draws", draws)):
            if value < 0:
                raise InvalidInput(f"{name}: expected at least 0, found {value}")
        self.tables, self.draws, self.unseen = tables, draws, unseen
        self._effects = create_effects(space)
        self._sampler = UniqueSampler(space, self.rng)
        design = (
            corner_design(space)
            if isinstance(self._effects, Effects)
            else latin_hypercube(space, _N_HYPERCUBE, self.rng)
        )
        self._planned = design  # not yet asked for
        self.n_initial = len(self._planned)
        self._pending: dict[bytes, Codes] = {}
        self._failed: set[bytes] = set()
        self._infeasible: list[tuple[Codes, Array]] = []  # codes and violations without losses
        self._outcome_models = OutcomeModels(n_objectives)

    def ask(self, n: int) -> Codes:
        """Return the initial design first, then the proposals of the largest improvement.

        The more architectures are evaluated, the more proposals are planned at once.
        """
        if len(self._planned) == 0:
            n_evaluated = len(self.history.averaged()[0])
            propose = self._propose_best if n_evaluated >= 2 else self._propose_random
            self._planned = propose(max(n, n_evaluated // _PLAN_FRACTION))
        codes, self._planned = self._planned[:n], self._planned[n:]
        self._sampler.take(codes)  # those of the initial design are not yet taken
        self._pending.update((code.tobytes(), code) for code in codes)
        return codes

    def update(
        self,
        codes: Codes,
        losses: Array,
        *,
        std: Array | None = None,
        constraints: Array | None = None,
    ) -> None:
        """Mark the architectures as evaluated; the next proposal updates the models."""
        self._mark_evaluated(codes)

    def start_with(self, codes: Codes) -> None:
        """Leave out the initial design."""
        self._planned, self.n_initial = self._planned[:0], 0

    def fail(self, codes: Codes, reason: str) -> None:
        """Exclude failed architectures from proposals and recommendations."""
        self._failed.update(code.tobytes() for code in codes)
        self._mark_evaluated(codes)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Add the violations to the data of their models alone."""
        self._infeasible.append((codes, constraints))
        self.fail(codes, "stopped at a bound")

    def tell_related(self, related: RelatedTrials) -> None:
        """Use an earlier search; of the initial design two architectures of each width remain."""
        self._outcome_models.learn(self._effects, related)
        has_design = len(self._planned) > 0  # otherwise it has been left out
        if has_design and isinstance(self._effects, Effects):
            self._planned = extreme_design(self.space)
            self.n_initial = len(self._planned)

    def recommend(self, n: int | None = None) -> Codes:
        """Return the non-dominated architectures; under noise, by the means of the models.

        With `unseen`, also architectures of the models' front that were never measured. Behind
        them come the measured ones that only these dominate.
        """
        codes, _, std, _ = self.history.averaged()
        # Exact observations need no model.
        if len(codes) < 2 or not std.any():
            return super().recommend(n)
        models, n_measured = self._current_models(), len(codes)
        # Architectures on the front of the mean tables, measured or not.
        if self.unseen:
            front = self._table_fronts(models, [model.weights[None] for model in models])
            excluded = self._failed | {code.tobytes() for code in codes}
            front = np.unique(front, axis=0)
            front = front[[code.tobytes() not in excluded for code in front]]
            codes = np.concatenate([codes, front])
        design = Design(self._effects, codes)
        means = np.stack([model.mean(design) for model in models], axis=1)
        # Feasible by the means, or all if none is; of these the front.
        indices = np.flatnonzero((means[:, self.n_objectives :] <= 0).all(axis=1))
        indices = indices if len(indices) else np.arange(len(codes))
        members = indices[pareto.non_dominated(means[indices, : self.n_objectives])]
        # A prediction may be wrong, so that it hides no measured architecture.
        measured = indices[indices < n_measured]
        hidden = measured[pareto.non_dominated(means[measured, : self.n_objectives])]
        chosen: Codes = codes[np.concatenate([members, hidden[~np.isin(hidden, members)]])]
        return chosen[:n]

    def diagnostics(self) -> list[str]:
        """Return one line on how well the sums over layers predict each objective."""
        if len(self.history.averaged()[0]) < 2:
            return []
        shares = [model.explained_variance for model in self._current_models()[: self.n_objectives]]
        listed = [
            f"{max(100 * share, 0):.1f} % in objective {j}" for j, share in enumerate(shares, 1)
        ]
        listed[0] = listed[0].replace(" in", " of the differences in")
        width = self._effects.width_name
        term, compared = (
            ("layer", f"architectures of equal {width}") if width else ("choice", "configurations")
        )
        return [
            f"its model, a sum of one effect per {term}, predicts {_conjunction(listed)} between "
            f"{compared} (each predicted from all others; 100 %: exactly, 0 %: not at all)"
        ]

    def _mark_evaluated(self, codes: Codes) -> None:
        """Remove architectures (k, d) from the pending and the planned ones."""
        self._sampler.take(codes)
        evaluated = {code.tobytes() for code in codes}
        for key in evaluated:
            self._pending.pop(key, None)
        mask = [code.tobytes() not in evaluated for code in self._planned]
        self._planned = self._planned[mask]

    def _current_models(self) -> list[AdditiveModel]:
        """Return the models of the objectives and violations, with all results so far."""
        return self._outcome_models.fit(self._effects, self.history, self._infeasible)

    def _propose_best(self, n: int) -> Codes:
        """Return up to `n` architectures that add most hypervolume to the front together."""
        codes, losses, std, violations = self.history.averaged()
        models = self._current_models()
        # 1. The current front, or the least infeasible architectures, and candidates from them.
        violation = _total_violation(violations, violations)  # (n, 1)
        feasible = np.flatnonzero(violation[:, 0] == 0)
        least = np.argsort(violation[:, 0])[:_MAX_INFEASIBLE_PARENTS]
        parents = feasible if len(feasible) else least
        front = codes[parents[pareto.non_dominated(losses[parents])]]
        candidates = self._candidates(models, front)
        if len(candidates) == 0:
            return self._propose_random(n)
        # 2. What is fixed: the baseline (under noise), and pending architectures.
        baseline = self._select_baseline(models, codes[parents]) if std.any() else codes[:0]
        pending = np.array(list(self._pending.values()), dtype=np.int8).reshape(-1, codes.shape[1])
        fixed = np.concatenate([baseline, pending])

        def improvement_of(outcomes: Array) -> tuple[Array, HypervolumeImprovement]:
            # The losses to improve; while nothing is feasible, the total violation alone.
            observed, exact = losses[parents], not std.any()
            units = _column_spans(observed, losses)
            if len(feasible) == 0:
                outcomes = _total_violation(outcomes[..., self.n_objectives :], violations)
                observed, units, exact = violation, _column_spans(violation, violation), True
            points, improvement = self._improvement(outcomes, len(baseline), observed, units, exact)
            # The pending architectures are in every front.
            for j in range(len(baseline), len(fixed)):
                improvement.add(points[:, j])
            return points[:, len(fixed) :], improvement

        # 3. The most promising candidates by means, as joint draws of all take most of the time.
        if len(candidates) > _MAX_DRAWN:
            design = Design(self._effects, np.concatenate([fixed, candidates]))
            means = np.stack([model.mean(design) for model in models], axis=1)
            points, improvement = improvement_of(means[None])
            predicted = _total_violation(means[len(fixed) :, self.n_objectives :], violations)
            kept = _most_promising(improvement.evaluate(points)[0], predicted[:, 0], _MAX_DRAWN)
            candidates = candidates[kept]
        # 4. Joint draws of all outcomes, and greedy selection.
        design = Design(self._effects, np.concatenate([fixed, candidates]))
        draws = self._draw_outcomes(models, design)  # (s, fixed + candidates, m + c)
        points, improvement = improvement_of(draws)
        indices = _select_greedily(improvement, points, n)
        return self._sampler.take(candidates[indices]) if indices else self._propose_random(n)

    def _improvement(
        self, draws: Array, n_baseline: int, observed: Array, units: Array, exact: bool
    ) -> tuple[Array, HypervolumeImprovement]:
        """Return prepared draws of outcomes and the hypervolume improvement over the fronts.

        Parameters
        ----------
        draws : (s, k, q + c)
            Draws of losses and violations.
        n_baseline
            Number of architectures, the first ones of `draws`, that may be on the front already.
        observed : (n, q)
            Observed losses of feasible architectures.
        units : (q,)
            Ranges of the losses.
        exact
            Whether the observed losses are exact; otherwise the draws of the baseline replace
            them.
        """
        q = observed.shape[1]
        observed = observed[pareto.non_dominated(observed)]
        # The reference point lies beyond the front of observations and of feasible means.
        means = draws[:, n_baseline:].mean(axis=0)
        predicted = means[np.all(means[:, q:] <= 0, axis=1), :q]
        front = np.concatenate([observed, predicted])
        front = front[pareto.non_dominated(front)]
        span = np.ptp(front, axis=0)
        reference = front.max(axis=0) + 0.1 * np.where(span > 0, span, units)
        # Infeasible draws are moved to the reference point, where they add nothing.
        feasible = np.all(draws[..., q:] <= 0, axis=2, keepdims=True)
        values = np.where(feasible, draws[..., :q], reference)
        common = observed if exact else observed[:0]
        fronts = [np.concatenate([common, draw[:n_baseline]]) for draw in values]
        improvement = create_improvement(fronts, reference, front.min(axis=0), self.rng)
        return improvement.prepare(values), improvement

    def _propose_random(self, n: int) -> Codes:
        """Return `n` random architectures; none if only pending ones are left."""
        if len(self._sampler) == self.space.size and self._pending:
            return self.space.encode([])
        return self._sampler.sample(n)

    def _draw_outcomes(self, models: list[AdditiveModel], design: Design) -> Array:
        """Return draws (s, k, m + c) of outcomes; with `draws` 0, the means as a single draw."""
        if self.draws == 0:
            return np.stack([model.mean(design) for model in models], axis=1)[None]
        return np.stack([model.sample(design, self.draws, self.rng) for model in models], axis=2)

    def _candidates(self, models: list[AdditiveModel], front: Codes) -> Codes:
        """Return new architectures: fronts of drawn tables, and children of the current front."""
        # The mean of the weights, most closely, and draws of their posterior, as one table each.
        means = [model.weights[None] for model in models]
        fronts = [self._table_fronts(models, means, _N_MEAN_WEIGHTS)]
        if self.tables:
            draws = [model.sample_weights(self.tables, self.rng) for model in models]
            fronts.append(self._table_fronts(models, draws))
        codes = np.unique(np.concatenate(fronts), axis=0)
        codes = codes[[code not in self._sampler for code in codes]]
        if len(codes) > _MAX_CANDIDATES:
            codes = codes[np.sort(self.rng.choice(len(codes), _MAX_CANDIDATES, replace=False))]
        children = mutate_and_crossover(front, _N_CHILDREN, self._sampler, self.rng)
        return np.unique(np.concatenate([codes, children]), axis=0)

    def _table_fronts(
        self, models: list[AdditiveModel], weights: list[Array], n_sums: int = _N_WEIGHTS
    ) -> Codes:
        """Return the architectures on the front of each draw's tables.

        Parameters
        ----------
        models
            Models of m objectives, then of c violations.
        weights : m + c arrays (s, P)
            Draws of the weights of each model's effects.
        n_sums
            Number of weighted sums of the tables; fewer where tables are large.
        """
        m = self.n_objectives
        tables = [model.effects.tables(draws) for model, draws in zip(models, weights, strict=True)]
        base = np.stack([table[0] for table in tables], axis=1)  # (s, m + c, R)
        layers = np.stack([table[1] for table in tables], axis=1)  # (s, m + c, R, L, O)
        # Violations in raw units: their zero separates feasible from infeasible.
        for j, model in enumerate(models[m:], m):
            base[:, j] = model.scale.inverse(base[:, j])
            layers[:, j] *= model.scale.spread
        # The fronts of all draws are approximated with the same weights.
        n_sums = min(n_sums, max(_N_WEIGHTS, _MAX_SUMS // int(np.prod(layers.shape[2:]))))
        sums = weight_vectors(n_sums, m, self.n_constraints, self.rng)
        fronts = [
            scalarized_front(self._effects, *pair, sums, m, _N_INFEASIBLE)
            for pair in zip(base, layers, strict=True)
        ]
        return np.concatenate(fronts)

    def _select_baseline(self, models: list[AdditiveModel], codes: Codes) -> Codes:
        """Return the architectures that the means of the models put on the front."""
        design = Design(self._effects, codes)
        means = np.stack([model.mean(design) for model in models[: self.n_objectives]], axis=1)
        return codes[pareto.non_dominated(means)][:_MAX_BASELINE]


def _conjunction(parts: list[str]) -> str:
    """Return two or more parts as an English list: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]])


def _select_greedily(improvement: HypervolumeImprovement, points: Array, n: int) -> list[int]:
    """Return the indices of up to `n` points, each of the largest mean gain after the last.

    The hypervolume is submodular, so greedy selection reaches at least 1 - 1/e of the largest gain
    (Nemhauser, Wolsey and Fisher 1978). It ends when no point adds anything.
    """
    indices: list[int] = []
    while len(indices) < min(n, points.shape[1]):
        gains = improvement.evaluate(points).mean(axis=0)  # over draws
        gains[indices] = -1.0
        best = int(gains.argmax())
        if gains[best] <= 0:
            break
        indices.append(best)
        improvement.add(points[:, best])
    return indices


def _most_promising(gains: Array, violation: Array, n: int) -> IndexArray:
    """Return the indices of up to `n` candidates with gains (k,) and total violations (k,).

    Feasible ones come by their gain, at least a quarter are others by their violation: predictions
    may be wrong, and the front often lies at a bound.
    """
    order = np.lexsort((-gains, violation))
    n_feasible = int((violation == 0).sum())
    feasible, others = order[:n_feasible], order[n_feasible:]
    others = others[: max(n // 4, n - n_feasible)]
    return np.concatenate([feasible[: n - len(others)], others])


def _total_violation(violations: Array, observed: Array) -> Array:
    """Return the sums (..., 1) of violations (..., c), in units of the observed ones (n, c)."""
    positive = np.maximum(violations, 0) / _column_spans(observed, observed)
    return np.asarray(positive.sum(axis=-1, keepdims=True))


def _column_spans(front: Array, observed: Array) -> Array:
    """Return the range of each column of a front; where it is 0, of all observations."""
    span, wider = np.ptp(front, axis=0), np.ptp(observed, axis=0)
    span = np.where(span > 0, span, wider)
    span = np.where(span > 0, span, np.abs(observed).max(axis=0))
    return np.asarray(np.where(span > 0, span, 1.0))
