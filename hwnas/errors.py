"""Exceptions and warnings, and the text that a user reads.

::

    HwnasError              the user can correct it: one line, exit code 2
    ├── InvalidInput        a value is not as expected (also a ValueError)
    │   ├── UnknownName     a name does not exist; the most similar one is suggested
    │   └── ExperimentError an experiment cannot be run: file, key, message
    ├── MissingExtra        an optional library is not installed (also an ImportError)
    ├── MachineFailed       the machine that measures does not work any more
    └── SpaceExhausted      every architecture of a space has been proposed

    SearchFailed            an optimizer raised an error (a RuntimeError): exit code 1
    HwnasWarning            something may not work as the user expects (a UserWarning)
    └── DrawingFailed       plots or the report of a run are missing, its results are complete

Any other exception is a bug in hwnas or in a plugin. This module imports the standard library only,
so that the command line can handle every error without loading what raises it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

_MIN_SIMILARITY = 0.6  # of names, for a suggestion
_MIN_PREFIX = 3  # characters of an abbreviation
_OF_ABBREVIATION = 0.9  # similarity of an abbreviation and its name
_MAX_NAME = 100  # characters of a name that may be a misspelling
_MAX_LINE = 1000  # characters of an error
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6", "vii": "7", "viii": "8"}


class HwnasError(Exception):
    """Error that the user can correct; its text is one line with what was found and expected.

    It can be pickled, whatever its constructor takes, so that other processes can raise it.

    Examples
    --------
    >>> import hwnas
    >>> try:
    ...     hwnas.space("gpt-z")
    ... except hwnas.HwnasError as error:
    ...     print(error)
    unknown space 'gpt-z'; did you mean 'gpt-l' or 'gpt-m' or 'gpt-s'?
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args), self.__dict__


def _restored(cls: type[HwnasError], args: tuple[Any, ...]) -> HwnasError:
    """Return an error of a class, whose constructor would take other arguments than its text."""
    error = cls.__new__(cls, *args)
    super(HwnasError, error).__init__(
        *args
    )  # of the built-in class: of ImportError it has the text
    return error


class HwnasWarning(UserWarning):
    """Warning of something that may not work as the user expects."""


class DrawingFailed(HwnasWarning):
    """Warning that plots or the report of a run are missing; its results are complete."""


class InvalidInput(HwnasError, ValueError):
    """Value that is not as expected."""


class UnknownName(InvalidInput):
    """Name that does not exist.

    A similar name is suggested; case, punctuation and Roman numerals make no difference. Otherwise
    all names are listed.

    Parameters
    ----------
    kind
        Kind of the name, in the singular: ``"space"``.
    name
        The unknown name.
    choices
        The names that exist. Of a path such as ``"budget.evaluations"`` the last part alone is
        compared too.
    reason
        Text for a name that is no misspelling of another, placed before the list.

    Examples
    --------
    >>> print(UnknownName("device", "rtx308", ["a100", "rtx3080"]))
    unknown device 'rtx308'; did you mean 'rtx3080'?
    >>> print(UnknownName("optimizer", "NSGA-II", ["nsga2", "nsga3"]))
    unknown optimizer 'NSGA-II'; did you mean 'nsga2'?
    >>> print(UnknownName("device", "rtx3090", ["a100", "rtx3080"], reason="it has no figures"))
    unknown device 'rtx3090': it has no figures; known: a100, rtx3080
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str], *, reason: str = "") -> None:
        choices = sorted(choices)
        similar = similar_names(name, choices) if len(name) <= _MAX_NAME else []
        explanation = f": {reason}" if reason and not similar else ""
        # A suggestion if a name is similar, else the whole list: the user must choose from it.
        if similar:
            hint = f"did you mean {' or '.join(map(repr, similar))}?"
        elif choices:
            hint = f"known: {', '.join(choices)}"
        else:
            hint = "none is known here"
        super().__init__(f"unknown {kind} {describe_value(name)}{explanation}; {hint}")


def similar_names(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that a name may be a misspelling of, the best ones only.

    Names with different numbers of one length, such as ``rtx3080`` and ``rtx3090``, are names of
    different things.

    >>> similar_names("nsga", ["ehvi", "nsga2", "nsga3"])
    ['nsga2', 'nsga3']
    >>> similar_names("rtx3090", ["a100", "rtx3080"])
    []
    """
    scores = {choice: _similarity(name, choice) for choice in choices}
    best = max(scores.values(), default=0.0)
    return [choice for choice, score in scores.items() if score == best >= _MIN_SIMILARITY]


def _similarity(name: str, choice: str) -> float:
    """Return a similarity of two names between 0 and 1; 1 if they differ in spelling only."""
    ratios = [0.0]
    for part in {choice, choice.rpartition(".")[2]}:
        # As written, so that no letter is mistaken for a numeral, and in the normal form.
        for a, b in ((name.lower(), part.lower()), (_normal_form(name), _normal_form(part))):
            if len(a) >= _MIN_PREFIX and b.startswith(a) and a != b:
                ratios.append(_OF_ABBREVIATION)  # however much is left out
            elif not _differ_in_number(a, b):
                ratios.append(difflib.SequenceMatcher(None, a, b).ratio())
    return max(ratios)


def _normal_form(name: str) -> str:
    """Return a name in small letters and Arabic numerals, without punctuation.

    >>> _normal_form("NSGA-III"), _normal_form("nsgaii"), _normal_form("MOEA/D")
    ('nsga3', 'nsga2', 'moead')
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    # A numeral is a word of its own, or the i's at the end of one: other letters end words too.
    words = [_ROMAN.get(word, word) for word in words]
    return "".join(re.sub(r"i{2,3}$", lambda numeral: _ROMAN[numeral[0]], w) for w in words)


def _differ_in_number(a: str, b: str) -> bool:
    """Return whether two names have different numbers of the same lengths."""
    numbers, second_numbers = re.findall(r"\d+", a), re.findall(r"\d+", b)
    return numbers != second_numbers and [*map(len, numbers)] == [*map(len, second_numbers)]


class ExperimentError(InvalidInput):
    """Experiment that cannot be run.

    Parameters
    ----------
    file
        File of the experiment; empty if it was not read from a file.
    key_path
        Path of the faulty key, ``optimizers[1].name``.
    message
        The value found and the value expected.

    Examples
    --------
    >>> print(ExperimentError("mine.yaml", "seeds", "is required"))
    mine.yaml: seeds: is required
    """

    def __init__(self, file: str, key_path: str, message: str) -> None:
        # Empty parts leave no colon behind.
        super().__init__(": ".join(part for part in (file, key_path, message) if part))


class MissingExtra(HwnasError, ImportError):
    """Optional library that is not installed.

    Parameters
    ----------
    subject
        The part of hwnas that needs the library: ``"optimizer 'nsga2'"``.
    module
        The missing module: ``"pymoo"``.
    extra
        The extra of hwnas that installs it.

    Examples
    --------
    >>> print(MissingExtra("optimizer 'nsga2'", "pymoo", "pymoo"))
    optimizer 'nsga2' needs pymoo: pip install "hwnas[pymoo]"
    """

    def __init__(self, subject: str, module: str, extra: str) -> None:
        super().__init__(f'{subject} needs {module}: pip install "hwnas[{extra}]"')


class MachineFailed(HwnasError):
    """Failure of the machine that measures: every trial would fail, so the search stops."""


class SpaceExhausted(HwnasError):
    """Search space without new architectures: every one has been proposed.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space({"name": "pair", "choices": {"a": [0, 1]}})
    >>> optimizer = hwnas.optimizer("random", space, 2, seed=0)
    >>> len(optimizer.ask(5))
    2
    >>> try:
    ...     optimizer.ask(1)
    ... except hwnas.SpaceExhausted as error:
    ...     print(error)
    all 2 architectures of pair are taken
    """


class SearchFailed(RuntimeError):
    """Error of an optimizer or of hwnas in a search; the other searches ran to their end."""


def describe_value(value: object, max_length: int = 80) -> str:
    """Return a value as a line of limited length, for error texts.

    >>> describe_value("long" * 10, max_length=12)
    "'longlong..."
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def one_line(text: str, max_length: int = _MAX_LINE) -> str:
    """Return a text as one line that a terminal shows as it is.

    White space becomes single spaces, what is not printable its escape, and where the text is too
    long its middle is left out: its beginning names the place, its end what was expected.

    >>> one_line("bad.yaml:\\n  name\\033[31m")
    'bad.yaml: name\\\\x1b[31m'
    >>> one_line("long" * 10, max_length=11)
    'long...long'
    """
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    if len(line) <= max_length:
        return line
    half = (max_length - 3) // 2
    return f"{line[:half]}...{line[-half:]}"
