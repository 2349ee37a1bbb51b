"""Checks of what an optimizer is told before its first proposal.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.related_trials import RelatedTrials
from hwnas.spaces import SearchSpace
from hwnas.testing.checks import require, seed_global_rngs
from hwnas.testing.harness import OptimizerUnderTest
from hwnas.testing.simulated_run import equal_proposals
from hwnas.testing.synthetic_problems import FIDELITIES
from hwnas.typing import Codes

_N_GIVEN = 12  # architectures of the design
_SHARE = 0.3  # of the default length of a run


def start_with(subject: OptimizerUnderTest) -> str:
    """After `start_with` it goes on from the results of a given design, which it does not repeat.

    At a higher fidelity it may propose members of the design. A run repeats its proposals.
    """
    given = _some_codes(subject.space)
    runs = []
    for _ in range(2):
        seed_global_rngs(0)
        run = subject.start()
        run.start_with(given)
        runs.append(subject.advance(run, share=_SHARE))
    lowest = FIDELITIES[0] if subject.multi_fidelity else None
    known = {row.tobytes() for row in given}
    for record in runs[0].records:
        repeated = [row.tolist() for row in record.codes if row.tobytes() in known]
        require(
            record.fidelity != lowest or not repeated,
            f"proposed an architecture of the design again: {repeated[:1]}",
        )
    if equal_proposals(subject.reference_run, subject.repeated_run):
        require(equal_proposals(*runs), "the same design led to other architectures")
    return f"{len(runs[0].proposals)} architectures after a design of {len(given)}"


def tell_related(subject: OptimizerUnderTest) -> str:
    """It refuses related trials by InvalidInput without another effect, or they are no results."""
    seed_global_rngs(0)
    run = subject.start()
    codes = _some_codes(subject.space)
    losses = run.problem.losses(codes)[:, :1]
    related = RelatedTrials(
        subject.space, codes, losses, np.zeros_like(losses), np.array([0]), np.array([False])
    )
    try:
        run.optimizer.tell_related(related)
    except InvalidInput:
        subject.advance(run, share=_SHARE)
        if equal_proposals(subject.reference_run, subject.repeated_run):
            require(
                equal_proposals(run, subject.reference_run),
                "after refused related trials it proposed other architectures",
            )
        return "refused, and the same architectures afterwards"
    require(len(run.optimizer.history) == 0, "related trials are in the history")
    require(len(run.optimizer.recommend()) == 0, "recommends before any result was told")
    subject.advance(run, share=_SHARE)
    subject.require_distinct(run)
    return f"{len(run.proposals)} architectures after {len(codes)} related trials"


def _some_codes(space: SearchSpace) -> Codes:
    """Return a few distinct architectures."""
    codes = np.unique(space.sample(4 * _N_GIVEN, np.random.default_rng(0)), axis=0)
    return np.random.default_rng(1).permutation(codes)[:_N_GIVEN]


PRIOR_CHECKS = (start_with, tell_related)
