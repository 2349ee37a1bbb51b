"""The backend ``python``, which calls a function of a user's own."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation, is_closed_form
from hwnas.errors import InvalidInput, describe_value
from hwnas.function_source import Function, load_function
from hwnas.objectives import Metric, Objective
from hwnas.spaces import SearchSpace
from hwnas.spaces.precision import without_absent_precision
from hwnas.typing import Codes


class _StepReached(BaseException):
    """End of a call whose step has been reached; no error, so ``except Exception`` lets it pass."""


class FunctionConfig(dict[str, Any]):
    """Configuration as a function gets it: a dict from the names of choices to their values.

    A choice of the layers has a tuple with one value for each layer. ``str`` returns the text by
    which tables and reports name the configuration.

    Parameters
    ----------
    member
        Configuration or architecture that it is the dict of.
    seed
        Seed for whatever is random in the function.
    steps
        Step up to which the function should run; ``None`` if the problem has no steps.
    may_stop
        Whether `report` may end the call at that step.

    Attributes
    ----------
    reported
        Last value that was reported; ``None`` before the first.
    """

    def __init__(
        self, member: Any, *, seed: int = 0, steps: int | None = None, may_stop: bool = False
    ) -> None:
        super().__init__(member if isinstance(member, Mapping) else _fields(member))
        self.member = member
        self.seed = seed
        self.steps = steps
        self.reported: Any = None
        self._may_stop = may_stop

    def __str__(self) -> str:
        return str(self.member)

    def report(self, value: Any, step: int) -> None:
        """Report values at a step, in any form in which the function may return them.

        The call ends here once `step` reaches `steps`, if a multi-fidelity optimizer has asked for
        fewer steps than all. The last reported value counts if the function returns nothing.

        Raises
        ------
        TypeError
            The step is no positive integer.
        """
        if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 1:
            raise TypeError(f"report: expected a step of 1, 2, ..., found {step!r}")
        self.reported = value
        if self._may_stop and self.steps is not None and step >= self.steps:
            raise _StepReached


class PythonFunction(Backend):
    """Backend that calls a Python function for each configuration.

    The function gets one `FunctionConfig`, a dict, and returns its values: a dict of numbers by
    name, of which others than the objectives are ignored; or numbers in the order of `returns`. An
    exception is a failed trial, and so is a value that is not finite.

    Parameters
    ----------
    function
        ``"module:name"``. A module of others needs ``--allow-plugins``, as a plugin file does.
    returns
        Names of the values; by default those of the objectives, then those of the constraints.
    folder
        Folder in which the module is looked for first; in a YAML relative to it, and by default
        the YAML's own.
    units
        Units of values by name, for reports and axes.
    steps
        Increasing numbers of steps, such as epochs, at which a multi-fidelity optimizer can compare
        configurations; the last is a complete run. The function runs up to ``config.steps`` and
        calls ``config.report(values, step)``. A configuration that is continued is run again from
        its first step, unless the function has kept a state of its own: with ``[1, 3, 9]`` one that
        is continued twice takes 13 steps instead of 9. It counts as a single evaluation however far
        it gets, so compare such an optimizer with others by ``budget.cost``.
    threads
        Threads of numerical libraries within the function; by default one for each processor that
        is available to this process.

    Raises
    ------
    InvalidInput
        The steps do not increase, or a setting is out of range.

    Notes
    -----
    The module is imported when an experiment is loaded to run; reading results imports nothing.
    """

    on_hardware = True
    side_by_side = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        function: str,
        returns: tuple[str, ...] = (),
        folder: str = ".",
        units: dict[str, str] | None = None,
        steps: tuple[int, ...] = (),
        threads: int | None = None,
    ) -> None:
        super().__init__(space)
        if any(step < 1 for step in steps) or any(a >= b for a, b in pairwise(steps)):
            raise InvalidInput(f"steps: expected increasing positive integers, found {list(steps)}")
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads: expected at least 1, found {threads}")
        for name in units or {}:
            if name not in returns:
                raise InvalidInput(f"units: expected names of {', '.join(returns)}, found {name!r}")
        self.name, self.folder = function, Path(folder)
        # Closed forms of the space are exact already.
        self.returns = tuple(name for name in returns if not _is_closed_form(space, name))
        self.fidelities = steps or None
        self.metrics = {
            name: Metric((units or {}).get(name, ""), "cheap", fidelity_dependent=len(steps) > 1)
            for name in self.returns
        }
        self._threads = threads or len(os.sched_getaffinity(0))

    @cached_property
    def function(self) -> Function:
        """The function, imported at the first access.

        Raises
        ------
        InvalidInput
            See `hwnas.function_source.load_function`.
        """
        return load_function(self.name, self.folder)

    def on_start(self, folder: Path) -> None:
        """Import the function: one that is missing ends a search before its first trial."""
        _ = self.function

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Call the function for one configuration after the other; see `hwnas.Backend`."""
        names = [objective.key for objective in objectives]
        members = self.space.decode(codes)
        rows = [
            self._call(member, int(seed), fidelity, names)
            for member, seed in zip(members, seeds, strict=True)
        ]
        return Evaluation(np.array(rows, dtype=np.float64).reshape(len(codes), len(names)))

    def _call(
        self, member: Any, seed: int, fidelity: int | None, names: Sequence[str]
    ) -> list[float]:
        """Return the values (m,) of one configuration by name."""
        complete = self.fidelities[-1] if self.fidelities else None
        steps = complete if fidelity is None else fidelity
        config = FunctionConfig(member, seed=seed, steps=steps, may_stop=steps != complete)
        # A function may change the working directory; a run's relative paths stay where they are.
        with self._numerical_threads(), contextlib.chdir(Path.cwd()):
            try:
                result = self.function(config)
            except _StepReached:
                result = config.reported
            except SystemExit as error:
                raise RuntimeError(f"{self.name} ended the program: {error!r}") from error
        return self._values(config.reported if result is None else result, names)

    def _values(self, result: Any, names: Sequence[str]) -> list[float]:
        """Return the values (m,) by name of what the function has returned."""
        by_name = result
        if not isinstance(result, Mapping):
            by_name = self._named(result)
        for name in names:
            if name not in by_name:
                raise LookupError(
                    f"{self.name} returned no {name!r}, only {', '.join(map(str, by_name))}"
                )
        return [_number(name, by_name[name]) for name in names]

    def _named(self, result: Any) -> Mapping[str, Any]:
        """Return what is no mapping as one: numbers in the order of `returns`."""
        form = f"expected {self.name} to return a dict, or {len(self.returns)} numbers for "
        form += ", ".join(self.returns)
        if isinstance(result, str) or result is None:
            raise TypeError(f"{form}; found {describe_value(result)}")
        try:
            values = list(np.atleast_1d(np.asarray(result)))
        except (TypeError, ValueError):
            raise TypeError(f"{form}; found {describe_value(result)}") from None
        if len(values) != len(self.returns):
            raise TypeError(f"{form}; found {describe_value(result)}")
        return dict(zip(self.returns, values, strict=True))

    @contextlib.contextmanager
    def _numerical_threads(self) -> Iterator[None]:
        """Set the threads of the numerical libraries within a block."""
        # An optimizer has a single one, so that its proposals can be repeated.
        torch = sys.modules.get("torch")
        n_threads = torch.get_num_threads() if torch else 0
        with self._libraries.limit(limits=self._threads):
            if torch:
                torch.set_num_threads(self._threads)
            try:
                yield
            finally:
                if torch:
                    torch.set_num_threads(n_threads)

    @cached_property
    def _libraries(self) -> threadpoolctl.ThreadpoolController:
        # Libraries that are loaded later have no limit.
        return threadpoolctl.ThreadpoolController()


def _is_closed_form(space: SearchSpace, name: str) -> bool:
    """Return whether a name is that of a closed form of a space, see `is_closed_form`."""
    with contextlib.suppress(InvalidInput):  # a name that no objective can have
        return is_closed_form(space, Objective.parse(name))
    return False


def _number(name: str, value: Any) -> float:
    """Return a value as a number; NaN and infinity are numbers, texts are none."""
    is_text = isinstance(value, str | bytes)
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        try:
            if not is_text:
                return float(value)
        except OverflowError:  # an integer beyond all floats
            return math.inf if value > 0 else -math.inf
    raise TypeError(f"expected a number as {name!r}, found {describe_value(value)}")


def _fields(member: Any) -> dict[str, Any]:
    """Return the fields of an architecture that is no mapping, its space excepted."""
    names = getattr(type(member), "__dataclass_fields__", ())
    fields = {name: getattr(member, name) for name in names if name != "space"}
    return without_absent_precision(fields)
