"""A claim of a paper, with the verdict of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["agrees", "in part", "differs", "not tested", "made anew"]

# Differences of hypervolume, and of other quantities between 0 and 1, that are negligible.
NEGLIGIBLE = 0.02


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and the evidence of a reproduction.

    Attributes
    ----------
    says
        The claim of the paper or of its code, in our own words.
    source
        Place of the claim.
    verdict
        Result of the check.
    here
        Numbers of the reproduction.
    why
        Reason for a difference, or a limitation of the check; may be empty.
    """

    says: str
    source: str
    verdict: Verdict
    here: str
    why: str = ""


def grade(value: float, threshold: float, weak_value: float, weak_threshold: float) -> Verdict:
    """Return a verdict on an effect.

    It agrees if `value` is above its threshold, in part if at least `weak_value` is above its own.

    Examples
    --------
    >>> grade(0.3, 0.5, 0.3, 0.1)
    'in part'
    """
    if value > threshold:
        return "agrees"
    return "in part" if weak_value > weak_threshold else "differs"
