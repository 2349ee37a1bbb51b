"""The surrogate backend: published figures without the hardware.

Latency and energy have a distribution, given by nine quantiles and by what
`hwnas.surrogates.quantiles` says of the levels between and beyond; everything else is a number.
All draws are independent, also those of latency and energy of one network: the published figures
have a distribution of each and say nothing of how they go together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.backends import Backend, Evaluation, metric_of
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.metrics import Metric
from hwnas.objectives import Objective
from hwnas.spaces import Codes, SearchSpace
from hwnas.surrogates.pareto_front import Limit, known_front
from hwnas.surrogates.published import DATA, published, scale_of
from hwnas.surrogates.quantiles import (
    GREATEST,
    LEAST,
    LEVELS,
    MEDIAN,
    at_levels,
    middle_levels,
    spread,
)
from hwnas.surrogates.tables import AdditiveTable, predict
from hwnas.surrogates.trees import trees_of
from hwnas.typing import Array

Model = Literal["additive", "trees"]


class Surrogate(Backend):
    """What HW-GPT-Bench's published figures say of the networks of a space.

    Parameters
    ----------
    space
        gpt-s, gpt-m, gpt-l, or a space cut down from one of them.
    noise
        Whether latency and energy are observed as draws (the median of as many as the fidelity
        says), not as medians.
    model
        ``"additive"``: sums over layers, of which every front is known. ``"trees"``: boosted trees
        on top of them, nearer to the published figures, with interactions between layers and no
        structure to exploit; only best known fronts.

    Raises
    ------
    InvalidInput
        There are no published figures for the space, or no such model.

    Notes
    -----
    Sukthanker et al. 2024, "HW-GPT-Bench", arXiv:2405.10299. How far tables and trees are from the
    published figures stands in ``benchmarks/surrogate.md`` and ``benchmarks/trees.md``.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        noise: bool = False,
        model: Model = "additive",
    ) -> None:
        super().__init__(space)
        if model not in get_args(Model):
            raise InvalidInput(f"model: expected 'additive' or 'trees', found {model!r}")
        self.noise = noise
        self.fidelities = (1, 3, 9, 27, 81) if noise else None
        self._published = published(space)
        self._trees = trees_of(space) if model == "trees" else None
        self._known: dict[str | Objective, Objective] = {}
        self._tables: dict[tuple[str, float | None], AdditiveTable] = {}
        self._fronts: dict[tuple[tuple[Objective, ...], ...], Front | None] = {}
        drawn = {"latency": "ms", "energy": "mWh"}
        self.metrics = {
            "perplexity": Metric("", "dear"),
            "float16_memory": Metric("MB", "cheap"),
            "bfloat16_memory": Metric("MB", "cheap"),
            **{
                f"{name}@{device}": Metric(unit, "cheap", noise, quantiles=True)
                for name, unit in drawn.items()
                for device in self._published.devices
            },
        }

    # -- values --------------------------------------------------------------------------------

    def predict(self, codes: Codes, names: Sequence[str | Objective]) -> Array:
        """What metrics are for networks: medians, or the quantile that a name asks for.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        names
            m metrics, each on one device: ``"perplexity"``, ``"params"``, ``"latency@h100:p90"``.

        Returns
        -------
        (n, m) float64, in raw units

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic that there is not.
        """
        return self._predict(codes, [self._checked(name) for name in names])

    def quantiles(
        self, codes: Codes, name: str | Objective, levels: Sequence[float] | None = None
    ) -> Array:
        """Quantiles of latency or energy; they never cross.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        name
            ``"latency@rtx3080"``.
        levels
            Probabilities from 0.01 to 0.99; by default 0.1, 0.2, ... 0.9.

        Returns
        -------
        (n, levels) float64, in raw units

        Raises
        ------
        InvalidInput
            The metric has no quantiles, or a level is out of range.
        """
        one = self._drawn(name)
        for level in levels or ():
            if not LEAST <= level <= GREATEST:
                raise InvalidInput(
                    f"level {level:g} of {one.key}: expected {LEAST:g} to {GREATEST:g}"
                )
        asked = LEVELS if levels is None else levels
        return self._predict(codes, [replace(one, level=level) for level in asked])

    def draw(
        self, codes: Codes, name: str | Objective, rng: np.random.Generator, repeats: int = 1
    ) -> Array:
        """Independent draws of latency or energy.

        Returns
        -------
        (n, repeats) float64, in raw units

        Raises
        ------
        InvalidInput
            The metric has no quantiles.
        """
        quantiles = self.quantiles(codes, name)
        return at_levels(quantiles, rng.random((len(codes), repeats)))

    # -- the backend ---------------------------------------------------------------------------

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | ArrayLike | None = None,
    ) -> Evaluation:
        """Values of networks; with noise, the sample median of `fidelity` draws.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        objectives
            m metrics, each on one device.
        seeds : (n,) uint64
            The draws of a trial and metric depend on its seed and the metric's name alone, and
            those of a lower fidelity are the first ones of a higher.
        fidelity
            Number of draws, or (n,) numbers; ``None`` for 1.

        Returns
        -------
        Evaluation
            With noise, `std` is the standard deviation of one draw for one draw, that of a normal
            sample's median, sqrt(pi / 2 r) as much, for r draws; 0 where there is no noise.

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic that there is not; with noise, a quantile.
        """
        asked = [self._observable(o) for o in objectives]
        if not self.noise:
            return Evaluation(self.predict(codes, asked))
        repeats = np.broadcast_to(np.asarray(1 if fidelity is None else fidelity), len(codes))
        values, std = np.empty((2, len(codes), len(asked)))
        for j, one in enumerate(asked):
            if not self.metrics[one.key].quantiles:
                values[:, j], std[:, j] = self.predict(codes, [one])[:, 0], 0
                continue
            quantiles = self.quantiles(codes, one.key)
            middle = at_levels(quantiles, middle_levels(seeds, one.key, repeats))
            values[:, j] = middle.mean(axis=1)
            shrunk = np.where(repeats > 1, np.sqrt(np.pi / 2 / repeats), 1.0)
            std[:, j] = spread(quantiles) * shrunk
        return Evaluation(values, std)

    def front(
        self,
        objectives: Sequence[str | Objective],
        constraints: Sequence[str | Objective] = (),
    ) -> Front | None:
        """The Pareto front of the networks that keep the constraints, by medians.

        Exact with two objectives, and with three or with constraints where the dynamic program has
        not too many labels; otherwise up to the front's `epsilon`, which is proved
        (`hwnas.surrogates.pareto_front`). With trees only the best known one, of perplexity against a
        hardware metric.

        Parameters
        ----------
        objectives
            Metrics or quantiles; a single one gives its optimum.
        constraints
            Each with its bound.

        Returns
        -------
        Front, or None
            One network for each point, best in the first objective first; empty where no network
            keeps the constraints. ``None`` for the worst ratio over several devices, where so many
            metrics are constrained that even an epsilon is out of reach, and where trees know none.

        Raises
        ------
        InvalidInput
            No objectives; a metric, a device or a statistic that there is not; with noise, a
            quantile; a constraint without a bound.
        """
        wanted, kept = (tuple(map(_parsed, names)) for names in (objectives, constraints))
        if not wanted:
            raise InvalidInput("front: expected at least one objective, found none")
        for objective in (*wanted, *kept):
            metric_of(self, objective)
        for constraint in kept:
            if constraint.bound is None:
                raise InvalidInput(
                    f"constraint {str(constraint)!r} has no bound; expected <= or >="
                )
        if any(len(o.devices) > 1 for o in (*wanted, *kept)):
            return None
        if (wanted, kept) not in self._fronts:
            find = self._front if self._trees is None else self._best_known
            front = self._fronts[wanted, kept] = find(wanted, kept)
            if front is not None:
                front.codes.flags.writeable = front.values.flags.writeable = False
        return self._fronts[wanted, kept]

    def range(self, name: str | Objective) -> tuple[float, float]:
        """Least and greatest value of a metric over all networks of the space, by its tables.

        Parameters
        ----------
        name
            A metric on one device, by its median, or a quantile: ``"latency@h100:p90"``.

        Returns
        -------
        least, greatest
            In the metric's raw unit.

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic that there is not.
        """
        table = self._table(self._checked(name))
        return table.minimum(), table.maximum()

    def evaluations(self, fidelity: int, done: int) -> int:
        """Every draw is an evaluation."""
        return fidelity - done

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that latency and energy are known on."""
        return self._published.devices

    @property
    def provenance(self) -> dict[str, Any]:
        """What was fitted to what, with which held-out errors, licence and citation."""
        return (self._trees or self._published).provenance

    def data_hash(self) -> str:
        """SHA-256 of the files that answers rest on, as 64 hexadecimal digits."""
        scale = scale_of(self.space)
        files = [f"{scale}.npz"] + ([f"{scale}-trees.npz"] if self._trees else [])
        return hashlib.sha256(b"".join((DATA / file).read_bytes() for file in files)).hexdigest()

    def _front(
        self, objectives: tuple[Objective, ...], constraints: tuple[Objective, ...]
    ) -> Front | None:
        signed: dict[tuple[Objective, bool], AdditiveTable] = {}

        def losses(objective: Objective, negative: bool) -> AdditiveTable:
            key = (objective.value, negative)
            table = self._table(self._observable(objective))
            return signed.setdefault(key, -1 * table if negative else table)

        for objective in objectives:
            if objective.bound is not None:
                raise InvalidInput(f"objective {str(objective)!r} has a bound; it is a constraint")
        tables = [losses(o, o.maximise) for o in objectives]
        limits = []
        for constraint in constraints:
            assert constraint.bound is not None
            negative = constraint.relation == ">="
            bound = -constraint.bound if negative else constraint.bound
            limits.append(Limit(losses(constraint, negative), bound))
        known = known_front(tables, limits)
        if known is None:
            return None
        codes, epsilon = known
        return Front.of(codes, self._predict(codes, objectives), objectives, epsilon)

    def _best_known(
        self, objectives: tuple[Objective, ...], constraints: tuple[Objective, ...]
    ) -> Front | None:
        assert self._trees is not None
        others = [str(o) for o in objectives if str(o) != "perplexity"]
        if constraints or len(objectives) != 2 or len(others) != 1:
            return None
        codes = self._trees.best_known(others[0])
        if codes is None:
            return None
        return Front.of(codes, self._predict(codes, objectives), objectives, epsilon=None)

    # -- tables and trees ----------------------------------------------------------------------

    def _predict(self, codes: Codes, objectives: Sequence[Objective]) -> Array:
        values = predict([self._table(o) for o in objectives], codes)
        if self._trees is not None:  # the same for all quantiles, which so keep their order
            values += self._trees.correction(codes, [o.key for o in objectives])
        return values

    def _checked(self, name: str | Objective) -> Objective:
        """An objective of one device that this backend has."""
        if name not in self._known:
            objective = _parsed(name)
            if len(objective.devices) > 1:
                raise InvalidInput(f"expected one device, found {objective.key!r}")
            metric_of(self, objective)
            self._known[name] = objective
        return self._known[name]

    def _drawn(self, name: str | Objective) -> Objective:
        """An objective that has a distribution."""
        objective = self._checked(name)
        if objective.key not in self.metrics or not self.metrics[objective.key].quantiles:
            raise InvalidInput(f"{objective.key} has no quantiles; latency and energy have")
        if objective.level is not None:
            raise InvalidInput(f"expected {objective.key!r} and its levels, found {str(name)!r}")
        return objective

    def _observable(self, name: str | Objective) -> Objective:
        """An objective that `evaluate` can answer."""
        objective = self._checked(name)
        if self.noise and objective.level is not None:
            raise InvalidInput(
                f"{str(objective.value)!r} is a quantile of what is drawn: with noise, expected "
                f"{objective.key!r}"
            )
        return objective

    def _table(self, objective: Objective) -> AdditiveTable:
        key = objective.key
        drawn = key in self.metrics and self.metrics[key].quantiles
        level = (objective.level or LEVELS[MEDIAN]) if drawn else None
        if (key, level) not in self._tables:
            if level is not None:
                table = self._published.quantile(objective.metric, objective.devices[0], level)
            elif key in self.metrics:
                table = self._published.table(key)
            else:
                table = AdditiveTable.of(self.space, getattr(self.space, key))
            self._tables[key, level] = table
        return self._tables[key, level]


def _parsed(name: str | Objective) -> Objective:
    return name if isinstance(name, Objective) else Objective.parse(name)
