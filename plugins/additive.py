"""Bayesian optimization with a model that adds up over layers."""

from __future__ import annotations

import numpy as np

from hwnas import pareto
from hwnas.additive.effects import Effects
from hwnas.additive.model import AdditiveModel, Design, model_of
from hwnas.errors import InvalidInput
from hwnas.optimizers import Optimizer, UniqueSampler
from hwnas.spaces import Codes, SearchSpace
from hwnas.typing import Array

from ._candidates import around
from ._hypervolume_improvement import Improvement, improvement
from ._scalarized_front import directions, supported

_DIRECTIONS = 48  # in which fronts of tables are looked for
_MOST = 400  # candidates of one proposal
_BEYOND = 100  # and those around the front, for what does not add up
_SETTLED = 64  # networks from which on the scale of an objective stays
_REFIT = 1.1  # variances are fitted again when so much more is known
_PLAN = 25  # of so many networks that are known, one more is proposed at once
_FEW = 10  # that break the constraints least, while nothing is feasible
_CONTENDERS = 100  # networks that may be on the front, under noise


class Additive(Optimizer):
    """Bayesian optimization with a model that adds up over layers.

    Every objective is a sum of what layers add, learned from few networks because what layers add
    is much alike, plus a Gaussian process of what sums the network up, for what does not add up.
    A draw of the sums is a table, whose front is found layer by layer; of those fronts' networks
    those come next that promise most hypervolume together.

    Parameters
    ----------
    tables
        Draws of the model, besides its mean, whose fronts are candidates.
    draws
        Draws of the candidates' objectives, over which the improvement is averaged; 0 takes their
        means for certain.
    unseen
        Whether, under noise, networks may be recommended that were never measured.

    References
    ----------
    The model and what was measured of it: ``docs/additive.md``. Improvement: Emmerich, Giannakoglou
    and Naujoks, "Single- and multiobjective evolutionary optimization assisted by Gaussian random
    field metamodels", IEEE Transactions on Evolutionary Computation 2006.
    """

    batch = 4

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
        self._effects = Effects(space)
        self._sampler = UniqueSampler(space, self.rng)
        self._planned = self._sampler.take(start(space))
        self._pending: dict[bytes, Codes] = {}
        self._failed: set[bytes] = set()
        self._models: list[AdditiveModel] = []
        self._fitted_at = 0  # how many networks the models know, and their variances
        self._stopped: list[tuple[Codes, Array]] = []  # networks and violations
        self._refit_at = 0

    def ask(self, n: int) -> Codes:
        """The start first, then what promises most, of which more is planned the more is known."""
        if len(self._planned) == 0:
            known = len(self.history.averaged()[0])
            some = self._promising if known >= 2 else self._unlikely
            self._planned = some(max(n, known // _PLAN))
        codes, self._planned = self._planned[:n], self._planned[n:]
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
        """The models learn it at the next proposal."""
        self._settle(codes)

    def fail(self, codes: Codes, reason: str) -> None:
        """Networks that fail are neither asked for again nor recommended."""
        self._failed.update(code.tobytes() for code in codes)
        self._settle(codes)

    def tell_infeasible(self, codes: Codes, constraints: Array) -> None:
        """Only the models of the violations learn from these networks."""
        self._stopped.append((codes, constraints))
        self.fail(codes, "stopped at a bound")

    def recommend(self, n: int | None = None) -> Codes:
        """The non-dominated of what was told; under noise, of what the models say of networks."""
        known, _, std, _ = self.history.averaged()
        if len(known) < 2 or not std.any():
            return super().recommend(n)
        models = self._current()
        codes = known
        if self.unseen:
            front = self._supported(models, [model.weights[None] for model in models])
            out = self._failed | {code.tobytes() for code in known}
            front = np.unique(front, axis=0)
            codes = np.concatenate([known, front[[code.tobytes() not in out for code in front]]])
        design = Design(self._effects, codes)
        means = np.stack([model.mean(design) for model in models], axis=1)
        keep = np.flatnonzero((means[:, self.n_objectives :] <= 0).all(axis=1))
        keep = keep if len(keep) else np.arange(len(codes))
        keep = keep[pareto.non_dominated(means[keep, : self.n_objectives])]
        return codes[keep][:n]

    def diagnostics(self) -> list[str]:
        """How much of each objective adds up over layers."""
        if len(self.history.averaged()[0]) < 2:
            return []
        shares = [model.explained for model in self._current()[: self.n_objectives]]
        listed = ", ".join(f"{max(100 * share, 0):.4g} %" for share in shares)
        return [f"of the objectives' variance within widths, effects of layers predict {listed}"]

    def _settle(self, codes: Codes) -> None:
        self._sampler.take(codes)
        told = {code.tobytes() for code in codes}
        for key in told:
            self._pending.pop(key, None)
        keep = [code.tobytes() not in told for code in self._planned]
        self._planned = self._planned[keep]

    def _current(self) -> list[AdditiveModel]:
        """Models of the objectives and violations, of all that was told."""
        codes, losses, std, violations = self.history.averaged()
        told = len(self.history) + len(self._stopped)
        if self._fitted_at == told:
            return self._models
        known = len(codes)
        steps = 0 if known < self._refit_at else 5 if self._models else 20
        design = Design(self._effects, codes)
        outcomes = np.concatenate([losses, violations], axis=1)
        errors = np.concatenate([std, np.zeros_like(violations)], axis=1)
        models = []
        for j in range(outcomes.shape[1]):
            before = self._models[j] if self._models else None
            scales: tuple[bool, ...] = (False, True)
            if j >= self.n_objectives:
                scales = (False,)
            elif before is not None and (steps == 0 or known > _SETTLED):
                scales = (before.scale.logarithmic,)
            of, y, error = design, outcomes[:, j], errors[:, j]
            if j >= self.n_objectives and self._stopped:
                of, y = self._with_stopped(codes, y, j - self.n_objectives)
                error = np.zeros(len(y))
            models.append(
                model_of(
                    self._effects,
                    of,
                    y,
                    error,
                    before=before,
                    scales=scales,
                    steps=steps,
                )
            )
        self._models, self._fitted_at = models, told
        if steps:
            self._refit_at = int(_REFIT * known) + 1
        return models

    def _with_stopped(self, codes: Codes, violations: Array, j: int) -> tuple[Design, Array]:
        """Slacks of one constraint with those of the networks that were stopped, (n,)."""
        more, known = (np.concatenate(parts) for parts in zip(*self._stopped, strict=True))
        has = np.isfinite(known[:, j])
        together = np.concatenate([codes, more[has]])
        return Design(self._effects, together), np.concatenate([violations, known[has, j]])

    def _promising(self, n: int) -> Codes:
        """Up to `n` networks that add most to the front, each given those before it."""
        codes, losses, std, violations = self.history.averaged()
        models = self._current()
        broken = _violation(violations, violations)
        least = np.flatnonzero(broken[:, 0] == 0)
        good = least if len(least) else np.argsort(broken[:, 0])[:_FEW]
        candidates = self._candidates(models, codes[good[pareto.non_dominated(losses[good])]])
        if len(candidates) == 0:
            return self._unlikely(n)
        held = self._contenders(models, codes[good]) if std.any() else codes[:0]
        waiting = np.array(list(self._pending.values()), dtype=np.int8).reshape(-1, codes.shape[1])
        design = Design(self._effects, np.concatenate([held, waiting, candidates]))
        drawn = self._drawn(models, design)  # (s, held + waiting + candidates, m + c)
        there = losses[good]
        if len(least):
            span, certain = _span(there, losses), len(held) == 0
        else:  # there is nothing else to improve as long as nothing is feasible
            drawn = _violation(drawn[..., self.n_objectives :], violations)
            there, span, certain = broken, _span(broken, broken), True
        seen, gains = self._improvement(drawn, len(held), there, span, certain)
        for j in range(len(held), len(held) + len(waiting)):
            gains.add(seen[:, j])
        seen = seen[:, len(held) + len(waiting) :]
        chosen: list[int] = []
        while len(chosen) < min(n, len(candidates)):
            gain = gains.of(seen).mean(axis=0)
            gain[chosen] = -1.0
            best = int(gain.argmax())
            if gain[best] <= 0:
                break
            chosen.append(best)
            gains.add(seen[:, best])
        return self._sampler.take(candidates[chosen]) if chosen else self._unlikely(n)

    def _improvement(
        self, drawn: Array, held: int, there: Array, span: Array, certain: bool
    ) -> tuple[Array, Improvement]:
        """What drawn outcomes add to the front, and the outcomes as that takes them.

        Parameters
        ----------
        drawn : (s, k, q + c)
            Of networks, the first `held` of which may be on the front already.
        held
        there : (n, q)
            What was told of networks that are feasible.
        span : (q,)
            Units.
        certain
            Whether that is beyond doubt, and no draws of it are needed.
        """
        q = there.shape[1]
        there = there[pareto.non_dominated(there)]
        # What the models promise beyond the known front counts too.
        means = drawn[:, held:].mean(axis=0)
        promised = means[np.all(means[:, q:] <= 0, axis=1), :q]
        front = np.concatenate([there, promised])
        front = front[pareto.non_dominated(front)]
        wide = np.ptp(front, axis=0)
        reference = front.max(axis=0) + 0.1 * np.where(wide > 0, wide, span)
        # What is infeasible adds nothing.
        kept = np.all(drawn[..., q:] <= 0, axis=2, keepdims=True)
        values = np.where(kept, drawn[..., :q], reference)
        known = there if certain else there[:0]
        fronts = [np.concatenate([known, draw[:held]]) for draw in values]
        gains = improvement(fronts, reference, front.min(axis=0), self.rng)
        return gains.seen(values), gains

    def _unlikely(self, n: int) -> Codes:
        """Networks at random, where none promises anything; none if results may change that."""
        if len(self._sampler) == self.space.size and self._pending:
            return self.space.encode([])
        return self._sampler.sample(n)

    def _drawn(self, models: list[AdditiveModel], design: Design) -> Array:
        """Draws (s, k, m + c) of networks' outcomes, or the one of their means."""
        if self.draws == 0:
            return np.stack([model.mean(design) for model in models], axis=1)[None]
        return np.stack([model.draws(design, self.draws, self.rng) for model in models], axis=2)

    def _candidates(self, models: list[AdditiveModel], front: Codes) -> Codes:
        """New networks: on fronts of drawn tables, and around the front that is known."""
        weights = [
            np.concatenate([model.weights[None], model.weight_draws(self.tables, self.rng)])
            for model in models
        ]
        codes = np.unique(self._supported(models, weights), axis=0)
        codes = codes[[code not in self._sampler for code in codes]]
        if len(codes) > _MOST:
            codes = codes[np.sort(self.rng.choice(len(codes), _MOST, replace=False))]
        beyond = around(front, _BEYOND, self._sampler, self.rng)
        return np.unique(np.concatenate([codes, beyond]), axis=0)

    def _supported(self, models: list[AdditiveModel], weights: list[Array]) -> Codes:
        """Networks on the fronts of the tables of each draw; weights (s, P) of each outcome."""
        m = self.n_objectives
        tables = [self._effects.tables(drawn) for drawn in weights]
        base = np.stack([table[0] for table in tables], axis=1)  # (s, m + c, R)
        layers = np.stack([table[1] for table in tables], axis=1)
        for j, model in enumerate(models[m:], m):  # a violation's zero matters, and so do its units
            base[:, j] = model.scale.raw(base[:, j])
            layers[:, j] *= model.scale.spread
        aims = directions(_DIRECTIONS, m, self.n_constraints, self.rng)
        fronts = [
            supported(self._effects, *pair, aims, m) for pair in zip(base, layers, strict=True)
        ]
        return np.concatenate(fronts)

    def _contenders(self, models: list[AdditiveModel], codes: Codes) -> Codes:
        """Which of them may be on the front, of which nothing is certain: by the models' means."""
        design = Design(self._effects, codes)
        means = np.stack([model.mean(design) for model in models[: self.n_objectives]], axis=1)
        return codes[pareto.non_dominated(means)][:_CONTENDERS]


def _violation(violations: Array, told: Array) -> Array:
    """How much violations (..., c) break constraints, in units of what was told (n, c); (..., 1)."""
    broken = np.maximum(violations, 0) / _span(told, told)
    return np.asarray(broken.sum(axis=-1, keepdims=True))


def _span(front: Array, told: Array) -> Array:
    """Worst less best of each column of a front, or, where that is 0, of all that was told."""
    span, wider = np.ptp(front, axis=0), np.ptp(told, axis=0)
    span = np.where(span > 0, span, wider)
    span = np.where(span > 0, span, np.abs(told).max(axis=0))
    return np.asarray(np.where(span > 0, span, 1.0))


def start(space: SearchSpace) -> Codes:
    """Networks that teach the most: homogeneous ones at the corners of every width.

    Of every choice of the first column, all layers with the most of everything, with the least and
    the fewest of them, and with the most of one choice and the least of the others; the smallest
    and the greatest also with the least of what else there is to choose.

    Returns
    -------
    (k, d) int8, distinct
    """
    top = space.cardinalities - 1
    layers = np.array([group.columns for group in space.groups])
    parent = space.groups[0].parent
    outside = [j for j in range(len(top)) if j not in set(layers.ravel().tolist())]
    widths = max((j for j in outside if j != parent), key=lambda j: top[j])
    rows = []
    for width in range(top[widths] + 1):
        most = top.copy()
        most[widths] = width
        least = np.zeros_like(top)
        least[outside] = top[outside]
        least[parent], least[widths] = 0, width
        rows += [most, least]
        for column in range(layers.shape[1]):
            one = most.copy()
            one[layers[:, [c for c in range(layers.shape[1]) if c != column]]] = 0
            rows.append(one)
    for row, width in ((np.zeros_like(top), 0), (top.copy(), top[widths])):
        row[[j for j in outside if j not in (parent, widths)]] = 0
        row[widths] = width
        row[parent] = top[parent]
        rows.append(row)
    codes = space.canonical(np.array(rows))
    _, first = np.unique(codes, axis=0, return_index=True)
    return codes[np.sort(first)]
