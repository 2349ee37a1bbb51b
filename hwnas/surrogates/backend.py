"""The surrogate backend: published figures without the hardware.

Published latency and energy have a distribution, given by nine quantiles that
`hwnas.surrogates.quantiles` interpolates. Quantiles of added devices and tables tell of errors of
the fit, not of noise. Every other metric is a number. All samples are independent, also those of
latency and energy of one architecture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.backends import Backend, Evaluation, metric_of
from hwnas.errors import InvalidInput
from hwnas.fronts import Front
from hwnas.objectives import Objective, as_objectives
from hwnas.spaces import SearchSpace
from hwnas.surrogates.added_devices import AddedDevices
from hwnas.surrogates.device_library import load_devices, load_tables, shipped_devices
from hwnas.surrogates.metrics import objective_notes, published_metrics, unpublished
from hwnas.surrogates.predictor import MetricPredictor, divisor_of
from hwnas.surrogates.problem_fronts import additive_front, best_known_front, check_front
from hwnas.surrogates.published import scale_of
from hwnas.surrogates.quantiles import (
    LEVELS,
    MAX_LEVEL,
    MIN_LEVEL,
    interpolate,
    median_levels,
    standard_deviation,
)
from hwnas.typing import Array, Codes
from hwnas.workloads import BUILT_IN, Workload

Model = Literal["additive", "trees"]


class Surrogate(Backend):
    """Predictions of HW-GPT-Bench's published figures, and of devices of hwnas and of users.

    Parameters
    ----------
    space
        gpt-s, gpt-m, gpt-l, or a space cut down from one of them; or language models that a device
        was measured on, or that tables are of.
    noise
        Observe latency and energy as random samples (the median of as many as the fidelity says)
        in place of medians.
    model
        ``"additive"``: sums over layers, for which every front is known. ``"trees"``: boosted trees
        on top of them, closer to the published figures, with interactions between layers and no
        structure to exploit; only best known fronts.
    workloads
        Workloads whose ``kv_cache`` and ``weight_memory`` can be asked for, by name; the built-in
        ones by default.
    devices
        Devices of users, by name or as files, see ``hwnas device``; all that were added by default.
        Those that hwnas ships are there in any case.
    tables
        File of ``hwnas fit``, or several; their metrics take the place of others of their names.

    Attributes
    ----------
    predictor
        Tables and trees behind the predictions.
    added
        Figures of measured devices, and of tables.

    Raises
    ------
    InvalidInput
        There are neither published figures nor added ones for the space, tables have nothing for
        it, or there is no such model.

    Notes
    -----
    Sukthanker et al. 2024, "HW-GPT-Bench", arXiv:2405.10299. The errors of tables and trees on the
    published figures are in ``benchmarks/surrogate.md`` and ``benchmarks/trees.md``.

    Examples
    --------
    >>> import hwnas
    >>> backend = Surrogate(hwnas.space("gpt-s"))
    >>> smallest = backend.space.canonical([[0] * len(backend.space.columns)])
    >>> backend.predict(smallest, ["params"]).tolist()
    [[22746240.0]]
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        noise: bool = False,
        model: Model = "additive",
        workloads: Mapping[str, Workload] | None = None,
        devices: tuple[str, ...] | None = None,
        tables: str | tuple[str, ...] = (),
    ) -> None:
        super().__init__(space)
        self.workloads = BUILT_IN if workloads is None else workloads
        if model not in get_args(Model):
            raise InvalidInput(f"model: expected 'additive' or 'trees', found {model!r}")
        self.noise = noise
        self.fidelities = (1, 3, 9, 27, 81) if noise else None
        listed = load_tables(tables)
        own, shipped = load_devices(devices), shipped_devices(space)
        self.added = AddedDevices(space, own, self.workloads, listed, shipped)
        self.metrics, self.missing = self.added.metrics, self.added.missing
        scale = None
        try:
            scale = scale_of(space)
        except InvalidInput as error:
            if model == "trees":
                raise
            self.added.require(error)
            self.missing |= unpublished(space.name)
            self.missing = {k: v for k, v in self.missing.items() if k not in self.metrics}
        self.predictor = MetricPredictor(
            space, scale, with_trees=model == "trees", workloads=self.workloads, added=self.added
        )
        if scale is not None:
            self.metrics = published_metrics(scale, self.devices, noise) | self.metrics
        self._named_devices = [] if devices is None else [*own]
        self._objectives: dict[str | Objective, Objective] = {}
        self._fronts: dict[tuple[tuple[Objective, ...], ...], Front | None] = {}

    # -- values --------------------------------------------------------------------------------

    def predict(self, codes: Codes, names: Sequence[str | Objective]) -> Array:
        """Return the metrics of architectures: medians, or the quantiles that names ask for.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        names
            m metrics, each on one device: ``"perplexity"``, ``"params"``, ``"latency@h100:p90"``,
            ``"kv_cache.serve"``.

        Returns
        -------
        (n, m) float64, in raw units

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic does not exist.
        """
        objectives = [self._objective(name) for name in as_objectives(names)]
        return self.predictor.predict(self.space.checked(codes), objectives)

    def quantiles(
        self, codes: Codes, name: str | Objective, levels: Sequence[float] | None = None
    ) -> Array:
        """Return quantiles of a metric that has some, such as latency; they never cross.

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
        objective = self._distribution(name)
        for level in levels or ():
            if isinstance(level, str) or not MIN_LEVEL <= level <= MAX_LEVEL:
                raise InvalidInput(
                    f"level {level} of {objective.key}: expected {MIN_LEVEL:g} to {MAX_LEVEL:g}"
                )
        levels = LEVELS if levels is None else levels
        return self.predictor.predict(codes, [replace(objective, level=level) for level in levels])

    def draw(
        self, codes: Codes, name: str | Objective, rng: np.random.Generator, repeats: int = 1
    ) -> Array:
        """Draw independent samples of latency or energy.

        Returns
        -------
        (n, repeats) float64, in raw units

        Raises
        ------
        InvalidInput
            The metric has no quantiles.
        """
        if not repeats >= 0:
            raise InvalidInput(f"repeats: expected at least 0, found {repeats}")
        quantiles = self.quantiles(codes, name)
        # Inverse transform sampling.
        return interpolate(quantiles, rng.random((len(codes), repeats)))

    def range(self, name: str | Objective) -> tuple[float, float]:
        """Return the minimum and maximum of a metric over the whole space, by its table.

        Parameters
        ----------
        name
            A metric on one device, by its median, or a quantile: ``"latency@h100:p90"``.

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic does not exist.
        """
        objective = self._objective(name)
        table, divisor = self.predictor.table(objective), divisor_of(objective)
        return table.minimum() / divisor, table.maximum() / divisor

    # -- the backend ---------------------------------------------------------------------------

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | ArrayLike | None = None,
    ) -> Evaluation:
        """Evaluate architectures; with noise, by the sample median of `fidelity` samples.

        Parameters
        ----------
        codes : (n, d) int8
            Canonical codes.
        objectives
            m metrics, each on one device.
        seeds : (n,) uint64
            Noise seed of each trial. The samples of a trial and metric depend only on it and the
            metric's name, and those of a lower fidelity are the first ones of a higher.
        fidelity
            Number of samples, or (n,) numbers; ``None`` for 1.

        Returns
        -------
        Evaluation
            With noise, `std` is the standard deviation of one sample; for r > 1 samples it is
            multiplied by sqrt(pi / 2 r), as for the median of a normal sample. 0 for metrics
            without noise.

        Raises
        ------
        InvalidInput
            A metric, a device or a statistic does not exist; with noise, a quantile.
        """
        observed = [self._observable(objective) for objective in objectives]
        if not self.noise:
            return Evaluation(self.predict(codes, observed))
        repeats = np.broadcast_to(np.asarray(1 if fidelity is None else fidelity), len(codes))
        values, std = np.empty((2, len(codes), len(observed)))
        for j, objective in enumerate(observed):
            key = objective.key
            if key in self.added.figures or not self.metrics[key].quantiles:
                values[:, j], std[:, j] = self.predict(codes, [objective])[:, 0], 0
                continue
            # The mean of the one or two middle samples is the sample median.
            quantiles = self.quantiles(codes, objective.key)
            middle = interpolate(quantiles, median_levels(seeds, objective.key, repeats))
            values[:, j] = middle.mean(axis=1)
            # Asymptotic standard error of a normal sample's median.
            factor = np.where(repeats > 1, np.sqrt(np.pi / 2 / repeats), 1.0)
            std[:, j] = standard_deviation(quantiles) * factor
        return Evaluation(values, std)

    def front(
        self,
        objectives: Sequence[str | Objective],
        constraints: Sequence[str | Objective] = (),
    ) -> Front | None:
        """Return the Pareto front of the feasible architectures, by medians.

        Exact with two objectives, and with three or with constraints where the dynamic program has
        not too many labels; otherwise up to the front's `epsilon`, which is proved
        (`hwnas.surrogates.pareto_front`). With trees only the best known front, of perplexity
        against a hardware metric.

        Parameters
        ----------
        objectives
            Metrics or quantiles; a single one gives its optimum.
        constraints
            Each with its bound.

        Returns
        -------
        Front, or None
            One architecture for each point, best in the first objective first; empty where no
            architecture is feasible. ``None`` for lower bounds of a worst ratio over several
            devices, where so many metrics are constrained that even an epsilon is out of reach,
            and where no front of the trees is known.

        Raises
        ------
        InvalidInput
            No objectives; a metric, a device or a statistic that does not exist; with noise, a
            quantile; a constraint without a bound.

        Examples
        --------
        >>> import hwnas
        >>> Surrogate(hwnas.space("gpt-s")).front(["-params"]).values.tolist()
        [[162246144.0]]
        """
        goals, bounded = (tuple(as_objectives(n)) for n in (objectives, constraints))
        check_front(self, goals, bounded)  # every error of the arguments before the search
        # A lower bound of a worst ratio is a disjunction, which no label can keep.
        worst = [objective for objective in (*goals, *bounded) if len(objective.devices) > 1]
        if worst and (self.predictor.trees or any(o.relation == ">=" for o in worst)):
            return None
        if (goals, bounded) not in self._fronts:
            front = self._fronts[goals, bounded] = self._find_front(goals, bounded)
            if front is not None:
                # The cached front is shared by all callers.
                front.codes.flags.writeable = front.values.flags.writeable = False
        return self._fronts[goals, bounded]

    def evaluations(self, fidelity: int, done: int) -> int:
        """Return the budget cost of a trial: every sample counts as an evaluation."""
        return fidelity - done

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices with published latency and energy."""
        figures = self.predictor.figures
        return () if figures is None else figures.devices

    @property
    def provenance(self) -> dict[str, Any]:
        """Source of the fit, its held-out errors, licence and citation."""
        return self.predictor.provenance

    def data_hash(self) -> str:
        """Return the SHA-256 of the files that predictions rest on, as 64 hexadecimal digits."""
        return self.predictor.data_hash(self._named_devices)

    def notes(self, objectives: Sequence[Objective]) -> list[str]:
        """Return notes on worst ratios over different protocols, and on quantiles of fits."""
        return objective_notes(objectives, self.added.origin)

    def _find_front(
        self, objectives: tuple[Objective, ...], constraints: tuple[Objective, ...]
    ) -> Front | None:
        if self.predictor.trees is not None:
            return best_known_front(self.predictor, objectives, constraints)
        for objective in objectives:
            if objective.bound is not None:
                raise InvalidInput(f"objective {str(objective)!r} has a bound; it is a constraint")
        for objective in (*objectives, *constraints):
            if len(objective.devices) < 2:
                self._observable(objective)
        return additive_front(self.predictor, objectives, constraints)

    # -- checks of names -----------------------------------------------------------------------

    def _objective(self, name: str | Objective) -> Objective:
        """Return the objective of one device that a name denotes."""
        if name not in self._objectives:
            (objective,) = as_objectives([name])
            if len(objective.devices) > 1:
                raise InvalidInput(f"expected one device, found {objective.key!r}")
            metric_of(self, objective)
            self._objectives[name] = objective
        return self._objectives[name]

    def _distribution(self, name: str | Objective) -> Objective:
        """Return an objective that has a distribution."""
        objective = self._objective(name)
        if objective.key not in self.metrics or not self.metrics[objective.key].quantiles:
            having = "latency and energy of published devices have, and most fits"
            raise InvalidInput(f"{objective.key} has no quantiles; {having}")
        if objective.level is not None:
            raise InvalidInput(f"expected {objective.key!r} and its levels, found {str(name)!r}")
        return objective

    def _observable(self, name: str | Objective) -> Objective:
        """Return an objective that `evaluate` can answer."""
        objective = self._objective(name)
        if self.noise and objective.level is not None:
            raise InvalidInput(
                f"{str(objective.value)!r} is a quantile of a noisy metric: with noise, expected "
                f"{objective.key!r}"
            )
        return objective
