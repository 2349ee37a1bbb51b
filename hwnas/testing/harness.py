"""Optimizers at work on made-up problems, watched but not judged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput, SpaceExhausted
from hwnas.optimizers import MultiFidelityOptimizer, Optimizer
from hwnas.registry import optimizer
from hwnas.spaces import Codes, SearchSpace
from hwnas.spaces import space as space_of
from hwnas.testing.checks import (
    CheckFailed,
    NotJudged,
    Subject,
    demand,
    seed_global_randomness,
)
from hwnas.testing.synthetic_problems import FIDELITIES, MEDIUM, STAGES, Field, Problem, field_of
from hwnas.typing import Array

_MOST_EMPTY = 20
_SIZES = (1, 3, 2, 5)
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Asked:
    """One ask and its answer.

    Attributes
    ----------
    n
        How many networks were asked for.
    raw
        The answer, a copy, without the fidelity.
    codes
        The answer as canonical codes.
    fidelity
        The fidelity that came with it, whatever it was; ``None`` without one.
    waiting
        How many results were outstanding at that time.
    in_order
        Whether the answer was C-contiguous.
    """

    n: int
    raw: Any
    codes: Codes
    fidelity: Any
    waiting: int
    in_order: bool


class Play:
    """An optimizer and the problem that it works on.

    It takes what it can of any answer, so that each fault is found by the check that is about it.

    Parameters
    ----------
    optimizer
        Fresh.
    problem
        Answers for networks.
    std
        Standard deviation of the noise on the losses.
    """

    def __init__(self, optimizer: Optimizer, problem: Problem, std: float = 0.0) -> None:
        self.optimizer, self.problem, self.std = optimizer, problem, std
        self.asks: list[Asked] = []
        self.waiting: dict[bytes, Codes] = {}
        self.cost = 0.0  # full evaluations
        self.full: list[Codes] = []  # what was measured at the top fidelity, (d,) each
        self._fidelity: dict[bytes, int] = {}
        self._rng = np.random.default_rng(0)

    def ask(self, n: int) -> Codes:
        """One ask, noted."""
        answer: Any = self.optimizer.ask(n)
        fidelity = None
        if isinstance(self.optimizer, MultiFidelityOptimizer):
            form = isinstance(answer, tuple) and len(answer) == 2
            demand(form, f"ask({n}) answered {_shown(answer)}, expected codes and a fidelity")
            answer, fidelity = answer
        self.handed = answer
        raw = answer.copy() if isinstance(answer, np.ndarray) else answer
        width = len(self.optimizer.space.columns)
        try:
            table = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            table = np.empty(0)
        form = table.ndim == 2 and table.shape[1] == width
        demand(form, f"ask({n}) answered {_shown(raw)}, expected codes of shape (k, {width})")
        codes = self.optimizer.space.canonical(table)
        in_order = isinstance(answer, np.ndarray) and answer.flags.c_contiguous
        self.asks.append(Asked(n, raw, codes, fidelity, len(self.waiting), in_order))
        level = fidelity if fidelity in FIDELITIES else FIDELITIES[-1]
        for row in codes:
            key = row.tobytes()
            self.cost += (level - self._fidelity.get(key, 0)) / FIDELITIES[-1]
            self._fidelity[key] = level
            self.waiting[key] = row.copy()
            if level == FIDELITIES[-1]:
                self.full.append(row.copy())
        return codes

    def some(self, n: int) -> Codes:
        """At least one network, where nothing is outstanding; patient with empty answers."""
        for _ in range(_MOST_EMPTY):
            if len(codes := self.ask(n)) or self.waiting:
                return codes
        raise CheckFailed(f"{_MOST_EMPTY} empty answers in a row, and nothing outstanding")

    def tell(self, codes: Codes) -> None:
        """Results of networks, at the fidelity that they were asked for at."""
        if len(codes) == 0:
            return
        losses = np.concatenate([self.losses(row[None]) for row in codes])
        noise = self.std * self._rng.standard_normal(losses.shape)
        self.optimizer.tell(
            codes,
            losses + noise,
            std=np.full(losses.shape, self.std) if self.std else None,
            constraints=self.problem.violations(codes) if self.problem.c else None,
        )
        self.forget(codes)

    def fail(self, codes: Codes) -> None:
        """Networks that could not be evaluated."""
        if len(codes):
            self.optimizer.fail(codes, "made up")
        self.forget(codes)

    def forget(self, codes: Codes) -> None:
        """No longer wait for networks."""
        for row in codes:
            self.waiting.pop(row.tobytes(), None)

    def step(self, n: int) -> Codes:
        """Ask, and tell all of it, in order."""
        codes = self.some(n)
        self.tell(codes)
        return codes

    @property
    def proposed(self) -> Codes:
        """Everything proposed, in order (k, d)."""
        return np.concatenate([self.optimizer.space.encode([]), *[a.codes for a in self.asks]])

    def losses(self, codes: Codes) -> Array:
        """Losses (1, m) of one network at the fidelity that it was last asked for at."""
        fidelity = self._fidelity.get(codes[0].tobytes(), FIDELITIES[-1])
        return self.problem.losses(codes, fidelity)


class Contestant(Subject):
    """An optimizer that is checked.

    Parameters
    ----------
    tested
        A registered name, or a class.
    space
        Where it searches; a made-up space of 44,226 networks by default.
    evaluations
        Length of the runs that judge its manners: enough to come past its start. By default two and
        a half times its batch, from 30 to 250.
    **settings
        Its own settings.
    """

    def __init__(
        self,
        tested: str | type[Optimizer],
        *,
        space: SearchSpace | str | None = None,
        evaluations: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__("optimizer", tested, settings)
        self.space = (
            MEDIUM if space is None else space_of(space) if isinstance(space, str) else space
        )
        self._evaluations = evaluations
        self.races: dict[Problem, Race] = {}

    @property
    def claims(self) -> bool:
        """Whether it claims to beat random search."""
        return bool(self.cls.claims_to_beat_random)

    @property
    def multi_fidelity(self) -> bool:
        """Whether it chooses fidelities."""
        return issubclass(self.cls, MultiFidelityOptimizer)

    def made(self, problem: Problem, seed: int = 0) -> Optimizer:
        """A fresh instance."""
        return optimizer(
            self.tested,
            problem.space,
            problem.m,
            seed=seed,
            n_constraints=problem.c,
            fidelities=FIDELITIES,
            **self.settings,
        )

    def play(self, problem: Problem | None = None, *, seed: int = 0, std: float = 0.0) -> Play:
        """A fresh instance at work on a problem, by default the plain one of the space."""
        problem = problem or Problem(self.space)
        return Play(self.made(problem, seed), problem, std)

    def run(
        self,
        play: Play,
        step: Callable[[Play, int], Any] = Play.step,
        *,
        share: float = 1.0,
    ) -> Play:
        """Let a play go on, by asks of different sizes, for a share of the usual length."""
        batch = play.optimizer.batch
        usual = self._evaluations or int(np.clip(2.5 * batch, 30, 250))
        scale = max(1, min(batch, 100) // 4)
        for _ in range(10 * usual):
            if sum(len(a.codes) for a in play.asks) >= share * usual:
                break
            step(play, _SIZES[len(play.asks) % len(_SIZES)] * scale)
        return play

    @cached_property
    def plain(self) -> Play:
        """A run of the usual length, every result told at once."""
        seed_global_randomness(0)
        return self.run(self.play())

    @cached_property
    def replay(self) -> Play:
        """The same once more."""
        seed_global_randomness(0)
        return self.run(self.play())

    def must_repeat(self) -> None:
        """Do not judge an optimizer whose runs cannot be compared."""
        if not same(self.plain, self.replay):
            raise NotJudged("it does not repeat a run, so that two cannot be compared")

    def nothing_twice(self, play: Play) -> None:
        """Demand that a play has no network twice, unless it never minded."""
        if again(self.plain) is None:
            demand(again(play) is None, str(again(play)))

    def race(self, problem: Problem, seeds: tuple[int, ...] = SEEDS) -> Race:
        """Its races on a problem, kept, as several checks look at them."""
        if problem not in self.races:
            self.races[problem] = Race(self, problem, seeds)
        return self.races[problem]


class Race:
    """A few seeds of an optimizer beside many random searches, stage by stage.

    Parameters
    ----------
    contestant
        Who runs.
    problem
        Of two losses.
    seeds
        Of its runs.
    """

    def __init__(self, contestant: Contestant, problem: Problem, seeds: tuple[int, ...]) -> None:
        seed_global_randomness(0)
        self.plays = [contestant.play(problem, seed=seed) for seed in seeds]
        self.batch = max(1, min(self.plays[0].optimizer.batch, 250))
        last = max(STAGES[-1], 4 * self.batch)
        self.stages = sorted({*(n for n in STAGES if n >= 2 * self.batch), last})
        self.field: Field = field_of(problem.space)
        self._plain = problem.plain()
        self._claims = contestant.claims

    def to(self, evaluations: int) -> None:
        """Let every play go on until it has cost so much."""
        for play in self.plays:
            with contextlib.suppress(SpaceExhausted):
                while play.cost < evaluations:
                    play.step(max(1, min(self.batch, int(evaluations - play.cost))))

    def losses(self, play: Play, evaluations: int) -> Array:
        """What a play had measured in full, without noise, in plain units."""
        codes = np.array(play.full[:evaluations], dtype=np.int8)
        return self._plain.losses(codes.reshape(-1, len(self._plain.space.columns)))

    def standings(self, evaluations: int, sign: int = 1) -> Array:
        """Of each seed, by how many standard deviations it is ahead of random search."""
        self.to(evaluations)
        return np.array(
            [
                self.field.standing(self.losses(play, evaluations), evaluations, sign)
                for play in self.plays
            ]
        )

    def volumes(self, evaluations: int) -> Array:
        """Hypervolume that each seed has."""
        self.to(evaluations)
        return np.array([self.field.volume(self.losses(p, evaluations)) for p in self.plays])

    def place(self, evaluations: int) -> float:
        """Where along the front the later half of the proposals lie, from 0 to 1."""
        self.to(evaluations)
        proposed = [play.proposed[:evaluations] for play in self.plays]
        late = np.concatenate([codes[len(codes) // 2 :] for codes in proposed])
        return float(self._plain.along(late).mean())

    @cached_property
    def leads_at(self) -> int | None:
        """The first stage at which every seed is ahead of every random search."""
        for stage in self.stages:
            if self.volumes(stage).min() > self.field.volumes(stage)[-1]:
                return stage
        return None

    @property
    def judged_at(self) -> int:
        """A stage at which it shows what it is worth: where it leads, if it claims to lead."""
        if self._claims:
            return self.leads_at or self.stages[-1]
        return next(stage for stage in self.stages if stage >= 50)


def same(first: Play, second: Play) -> bool:
    """Whether two plays were the same so far as both went."""
    pairs = zip(first.asks, second.asks, strict=False)
    return all(np.array_equal(a.codes, b.codes) and a.fidelity == b.fidelity for a, b in pairs)


def again(play: Play) -> str | None:
    """Where a play has a network a second time at one fidelity, if it has."""
    first: dict[tuple[bytes, Any], int] = {}
    for i, asked in enumerate(play.asks):
        for row in asked.codes:
            key = row.tobytes(), asked.fidelity
            if key in first:
                where = "the same ask" if first[key] == i else f"ask {first[key] + 1}"
                return f"ask {i + 1} has a network that {where} has: {row.tolist()}"
            first[key] = i
    return None


def refusal(contestant: Contestant, problem: Problem) -> InvalidInput | None:
    """Why an optimizer refuses a problem, if it does."""
    try:
        contestant.made(problem)
    except InvalidInput as error:
        return error
    return None


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    return f"{value!r:.60}"
