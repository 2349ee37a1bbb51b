"""Checks: functions whose docstring states a requirement and that return what they observed."""

from __future__ import annotations

import contextlib
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hwnas import registry
from hwnas.errors import MissingExtra, UnknownName
from hwnas.fault_location import fault_location
from hwnas.registry import Kind, checked_settings, lookup, settings_of

Result = Literal["passed", "failed", "not judged"]
NONEXISTENT = "no_such_setting"  # a name that no setting and no metric has

# States of the global generators of random, numpy and, if it is loaded, torch.
RngStates = tuple[Any, Any, Any]


class CheckFailed(AssertionError):
    """Failure of a check; its text is one line with the requirement and the observation."""


class NotJudged(Exception):
    """Outcome of a check that does not apply; its text gives the reason."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a check.

    Attributes
    ----------
    check
        Name of the check.
    result
        ``"not judged"`` where the check does not apply, or where a fault prevents it that an
        earlier check has reported.
    seen
        Observation, one line.
    """

    check: str
    result: Result
    seen: str


class Subject:
    """Class under test with its settings.

    Parameters
    ----------
    kind
        ``"optimizer"``, ``"backend"`` or ``"space"``.
    tested
        Registered name, or class.
    settings
        Settings of its constructor.

    Raises
    ------
    UnknownName, InvalidInput, MissingExtra
        From `hwnas.registry.checked_settings`.
    """

    def __init__(self, kind: Kind, tested: str | type, settings: dict[str, Any]) -> None:
        self.kind: Kind = kind
        self.tested = tested
        self.cls: type[Any] = lookup(kind, tested)
        # A wrong setting is the user's mistake, not a failure of the class.
        checked_settings(kind, tested, settings)
        self.settings = settings

    @cached_property
    def reported_faults(self) -> dict[str, str]:
        """Names of the checks that have reported a fault, by its place in the code."""
        return {}

    def __str__(self) -> str:
        return self.tested if isinstance(self.tested, str) else self.tested.__name__


@dataclass(frozen=True)
class Check:
    """One requirement, which can be checked by a call with a class.

    Attributes
    ----------
    kind
        Kind of class that it applies to: ``"optimizer"``, ``"backend"`` or ``"space"``.
    name
        Short name, as in the table that ``hwnas check`` prints.
    demands
        Requirement, one sentence.
    function
        Function that returns its observation, or raises `CheckFailed` with it.
    create_subject
        Function that turns a name or a class, a space and settings into the argument of
        `function`.

    Examples
    --------
    >>> import hwnas
    >>> check = hwnas.testing.optimizer_checks()[0]
    >>> str(check), check("nsga2", pop_size=8)
    ('settings', 'batch 8')
    """

    kind: Kind
    name: str
    demands: str
    function: Callable[[Any], str]
    create_subject: Callable[..., Any]

    def __str__(self) -> str:
        return self.name

    def __call__(self, tested: str | type, **options: Any) -> str:
        """Check a registered name or a class.

        Parameters
        ----------
        tested
            Registered name, or class.
        **options
            Options and settings as for `check_optimizer`, `check_backend` or `check_space`.

        Returns
        -------
        str
            Observation.

        Raises
        ------
        CheckFailed
            The class does not meet the requirement.
        """
        return self.run(self.create_subject(tested, **options))

    def run(self, subject: Subject) -> str:
        """Check a subject, which several checks may share; otherwise as `__call__`."""
        try:
            # The checks seed the global generators; the caller of a check must not notice.
            with preserve_global_rngs():
                return self.function(subject)
        except NotJudged as reason:
            return f"not judged: {reason}"
        # A missing library is a fault of the installation, not of the class.
        except MissingExtra:
            raise
        except CheckFailed as failure:
            raise CheckFailed(self._failure_line(subject, str(failure))) from None
        # Any other exception comes from the class; its traceback stays attached.
        except Exception as error:
            raise CheckFailed(self._failure_line(subject, _format_exception(error))) from error

    def outcome(self, subject: Subject) -> Outcome:
        """Check a subject and return the outcome, also of a failure.

        A fault that an earlier check of the same subject has reported is not reported again.
        """
        try:
            observation = self.run(subject)
        except CheckFailed as failure:
            # The failure that `run` caught, with its traceback.
            cause = _root_cause(failure.__context__ or failure)
            first = subject.reported_faults.setdefault(_fault_place(cause, subject), self.name)
            if first == self.name:
                return Outcome(self.name, "failed", str(failure).partition("; seen: ")[2])
            reason = " ".join(f"not run: {_describe_fault(cause)}, see {first}".split())
            return Outcome(self.name, "not judged", reason)
        if observation.startswith("not judged: "):
            return Outcome(self.name, "not judged", observation.removeprefix("not judged: "))
        return Outcome(self.name, "passed", observation)

    def _failure_line(self, subject: Subject, observation: str) -> str:
        return " ".join(f"{subject}: {self.name}: {self.demands}; seen: {observation}".split())


def create_check(
    kind: Kind,
    function: Callable[[Any], str],
    create_subject: Callable[..., Any],
) -> Check:
    """Return the check of a function, which gives it its name and its first paragraph."""
    requirement = str(function.__doc__).partition("\n\n")[0].rstrip(".")
    name = function.__name__.replace("_", "-")
    return Check(kind, name, " ".join(requirement.split()), function, create_subject)


def require(condition: Any, observation: str) -> None:
    """Raise `CheckFailed` with an observation unless a condition holds."""
    if not condition:
        raise CheckFailed(observation)


def require_valid_constructor(subject: Subject, required: tuple[str, ...]) -> None:
    """Require a docstring, the parameters that the framework passes, and annotated settings."""
    require(subject.cls.__doc__, "no docstring")
    parameters = _constructor_parameters(subject.cls)
    for parameter in parameters.values():
        positional = parameter.kind == parameter.VAR_POSITIONAL
        require(not positional, f"the constructor takes {parameter}, which has no name to set")
    for name in required:
        require(name in parameters, f"the constructor does not take {name}")
    # Users set these in YAML, where a value has no type of its own.
    for name in settings_of(subject.cls):
        annotated = parameters[name].annotation is not inspect.Parameter.empty
        require(annotated, f"setting {name} has no annotation to check a user's value against")


def _constructor_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor, with its parent's where it takes ``**settings``."""
    parameters: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(cls):
        if "__init__" in vars(base):
            own = inspect.signature(vars(base)["__init__"]).parameters
            # A parameter of the class hides its parent's.
            parameters = {**own, **parameters}
            if all(parameter.kind != parameter.VAR_KEYWORD for parameter in own.values()):
                break
    return parameters


def require_unknown_setting_refused(create: Callable[[], Any]) -> None:
    """Require that a constructor call with the setting `NONEXISTENT` raises.

    A constructor may take ``**settings`` to pass them on, but not accept a misspelt one.
    """
    try:
        create()
    except (UnknownName, TypeError):
        return
    raise CheckFailed(f"{NONEXISTENT}=1 was accepted")


# -- global random number generators -------------------------------------------------------------


def global_rng_states() -> RngStates:
    """Return the states of the global generators of random, numpy and, if it is loaded, torch."""
    torch = sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch else None
    return random.getstate(), np.random.get_state(legacy=False), torch_state  # noqa: NPY002


def set_global_rng_states(states: RngStates) -> None:
    """Set the states of the global generators, as `global_rng_states` returned them."""
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    if states[2] is not None:
        sys.modules["torch"].set_rng_state(states[2])


def seed_global_rngs(seed: int) -> None:
    """Seed the global generators."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # torch.manual_seed would also seed every CUDA device, which the checks do not restore.
    if torch := sys.modules.get("torch"):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())


def changed_global_rngs(states: RngStates) -> list[str]:
    """Return the names of the generators whose state differs from one of `global_rng_states`."""
    current = global_rng_states()
    names = []
    if states[0] != current[0]:
        names.append("random")
    # The key of numpy's generator is compared by itself, as repr may shorten an array.
    if repr(states[1]) != repr(current[1]) or not np.array_equal(
        states[1]["state"].get("key", 0), current[1]["state"].get("key", 0)
    ):
        names.append("numpy.random")
    # torch may have been loaded in between; then there is nothing to compare with.
    if states[2] is not None and not bool((states[2] == current[2]).all()):
        names.append("torch")
    return names


@contextlib.contextmanager
def preserve_global_rngs() -> Iterator[None]:
    """Restore the global generators afterwards, so that a check leaves its caller's numbers."""
    states = global_rng_states()
    try:
        yield
    finally:
        set_global_rng_states(states)


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _fault_place(error: BaseException, subject: Subject) -> str:
    """Return the file and line of a fault, which are the same wherever it prevents a check."""
    location = "" if isinstance(error, CheckFailed) else fault_location(error, subject.cls)
    # The line that requires something, not that of `require`.
    all_frames = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in all_frames if frame.filename != __file__] or all_frames
    return location or f"{frames[-1].filename}, line {frames[-1].lineno}"


def _describe_fault(error: BaseException) -> str:
    """Return what prevents a check: the plugin's method and its error, or a check's own text."""
    if isinstance(error, CheckFailed):
        return str(error)
    ours = str(Path(__file__).parent), registry.__file__
    methods: list[str] = []
    for frame in traceback.extract_tb(error.__traceback__):
        methods = [] if frame.filename.startswith(ours) else [*methods, frame.name]
    # A call with wrong arguments has no frame in the constructor.
    method = methods[0] if methods else "__init__"
    name = "the constructor" if method == "__init__" else method
    return f"{name} raises {_format_exception(error)}"


def _format_exception(error: BaseException) -> str:
    """Return an error with the last line of code outside of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parent)
    outside = [frame for frame in frames if not frame.filename.startswith(package)]
    if not outside:
        return f"{type(error).__name__}: {error}"
    location = f"{Path(outside[-1].filename).name}, line {outside[-1].lineno}"
    return f"{type(error).__name__}: {error} ({location})"
