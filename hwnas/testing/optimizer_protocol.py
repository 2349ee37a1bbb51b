"""Checks of an optimizer's protocol: its randomness, and the form of its proposals.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import SpaceExhausted
from hwnas.testing.checks import (
    NONEXISTENT,
    CheckFailed,
    NotJudged,
    changed_global_rngs,
    global_rng_states,
    require,
    require_unknown_setting_refused,
    require_valid_constructor,
    seed_global_rngs,
    set_global_rng_states,
)
from hwnas.testing.harness import OptimizerUnderTest
from hwnas.testing.simulated_run import (
    SimulatedRun,
    equal_proposals,
    find_difference,
    find_duplicate,
)
from hwnas.testing.synthetic_problems import TINY, SyntheticProblem
from hwnas.typing import Codes


def settings(subject: OptimizerUnderTest) -> str:
    """It has a docstring, named and annotated settings, and refuses unknown ones."""
    required = ("space", "n_objectives", "seed", "n_constraints")
    require_valid_constructor(subject, required + ("fidelities",) * subject.multi_fidelity)
    extra = {"fidelities": (1,)} if subject.multi_fidelity else {}
    require_unknown_setting_refused(
        lambda: subject.cls(subject.space, 2, seed=0, **extra, **{NONEXISTENT: 1})
    )
    optimizer = subject.create(SyntheticProblem(subject.space))
    for name, minimum in (("batch", 1), ("generation", 1), ("n_initial", 0)):
        value = getattr(optimizer, name)
        require(isinstance(value, int) and value >= minimum, f"{name} is {value!r}")
    for name in ("claims_to_beat_random", "handles_constraints"):
        value = getattr(optimizer, name)
        require(isinstance(value, bool), f"{name} is {value!r}")
    return f"batch {optimizer.batch}"


def seed(subject: OptimizerUnderTest) -> str:
    """Two instances with the same seed begin with the same proposals."""
    # The global generators are equal in both runs; reading them is left to `global_random`.
    runs = []
    for _ in range(2):
        seed_global_rngs(0)
        run = subject.start(seed=7)
        for n in (2, 5, 3):
            run.ask(n)
        runs.append(run)
    _require_equal_proposals(runs[0], runs[1], "before any result was told")
    return f"the same {len(runs[0].proposals)} architectures"


def another_seed(subject: OptimizerUnderTest) -> str:
    """Another seed gives other proposals."""
    # A shorter run suffices: it must differ somewhere.
    seed_global_rngs(1)
    run = subject.advance(subject.start(seed=1), share=0.6)
    require(
        not equal_proposals(subject.reference_run, run),
        "seeds 0 and 1 proposed the same architectures throughout",
    )
    return "other architectures"


def replays(subject: OptimizerUnderTest) -> str:
    """A new instance with the same seed, asks and results makes the same proposals."""
    # Where the first proposals differ, the check `seed` has failed, and this one adds nothing.
    try:
        seed(subject)
    except CheckFailed:
        raise NotJudged("its first proposals differ already") from None
    _require_equal_proposals(
        subject.reference_run, subject.repeated_run, "after the same results were told"
    )
    return f"the same {len(subject.reference_run.proposals)} architectures"


def alone(subject: OptimizerUnderTest) -> str:
    """Another instance in the same process does not change its proposals."""
    subject.require_repeatable()
    seed_global_rngs(0)
    run = subject.advance(subject.start(), share=0.5)
    # The other instance may use the global generators; that is left to `global_random`.
    states = global_rng_states()
    subject.advance(subject.start(seed=1), share=0.3)
    set_global_rng_states(states)
    subject.advance(run)
    _require_equal_proposals(run, subject.reference_run, "beside another instance")
    return "the same architectures"


def global_random(subject: OptimizerUnderTest) -> str:
    """It neither reads nor changes the global generators of random, numpy and torch."""
    subject.require_repeatable()
    seed_global_rngs(1)  # the reference run had seed 0
    states = global_rng_states()
    run = subject.advance(subject.start(), share=0.7)
    changed = changed_global_rngs(states)
    require(not changed, f"the global state of {', '.join(changed)} was changed")
    _require_equal_proposals(
        run, subject.reference_run, "with the global generators in another state"
    )
    return "neither read nor changed"


def codes(subject: OptimizerUnderTest) -> str:
    """It proposes at most n canonical codes of the space, as (k, d) int8, C-contiguous."""
    # From the coarsest property to the finest, as each assumes those before.
    space = subject.space
    for record in subject.reference_run.records:
        call, answer = f"ask({record.n})", record.answer
        require(isinstance(answer, np.ndarray), f"{call} answered a {type(answer).__name__}")
        require(answer.dtype == np.int8, f"{call} answered codes of {answer.dtype}")
        require(record.c_contiguous, f"{call} answered codes that are not C-contiguous")
        require(len(answer) <= record.n, f"{call} answered {len(answer)} codes")
        valid = space.is_valid(answer)
        if not valid.all():
            invalid = answer[int(np.argmin(valid))].tolist()
            raise CheckFailed(f"{call} answered {invalid}, not canonical in space {space.name}")
    return f"{len(subject.reference_run.proposals)} codes"


def duplicates(subject: OptimizerUnderTest) -> str:
    """Without noise it proposes no architecture twice, in one ask or in several."""
    duplicate = find_duplicate(subject.reference_run)
    require(duplicate is None, str(duplicate))
    return f"{len(subject.reference_run.proposals)} different architectures"


def waiting(subject: OptimizerUnderTest) -> str:
    """An ask is answered by no codes only while results are outstanding."""
    records = subject.reference_run.records
    for i, record in enumerate(records):
        idle = len(record.codes) == 0 and record.n_pending == 0
        require(not idle, f"ask {i + 1} answered no codes, and every result had been told")
    return f"{len(records)} asks"


def exhausted(subject: OptimizerUnderTest) -> str:
    """It proposes every architecture of a small space, and then raises SpaceExhausted."""
    # The bound on the asks ends the check for an optimizer that answers with no codes forever.
    run = subject.start(SyntheticProblem(TINY))
    max_asks = 20 * TINY.size
    for _ in range(max_asks):
        try:
            run.tell(run.ask(3))
        except SpaceExhausted:
            break
    else:
        raise CheckFailed(
            f"no SpaceExhausted in {max_asks} asks; "
            f"{_count_distinct(run)} of {TINY.size} architectures proposed"
        )
    count = _count_distinct(run)
    require(count == TINY.size, f"SpaceExhausted after {count} of {TINY.size} architectures")
    # From then on it raises again, or at least proposes nothing.
    try:
        proposals = run.ask(1)
    except SpaceExhausted:
        proposals = TINY.encode([])
    require(
        len(proposals) == 0, f"SpaceExhausted, and the next ask answered {len(proposals)} codes"
    )
    return f"SpaceExhausted after {count} of {TINY.size} architectures"


def inputs(subject: OptimizerUnderTest) -> str:
    """The caller may modify the arrays that ask returned and that tell received."""
    subject.require_repeatable()
    seed_global_rngs(0)
    run = subject.advance(subject.start(), _ask_and_tell_then_overwrite)
    _require_equal_proposals(run, subject.reference_run, "when the caller overwrote its arrays")
    return "no array changed or shared"


def _ask_and_tell_then_overwrite(run: SimulatedRun, n: int) -> None:
    """Overwrite the proposals before `tell`, and its arguments after it."""
    proposals = run.ask_nonempty(n).copy()
    # An optimizer may return a read-only array.
    if isinstance(run.last_answer, np.ndarray) and run.last_answer.flags.writeable:
        run.last_answer[:] = 0
    if len(proposals) == 0:
        return
    # `tell` gets copies, to be compared with the originals and then overwritten.
    losses = run.losses(proposals)
    argument_codes: Codes = proposals.copy()
    argument_losses = losses.copy()
    run.optimizer.tell(argument_codes, argument_losses)
    unchanged = np.array_equal(argument_codes, proposals) and np.array_equal(
        argument_losses, losses
    )
    require(unchanged, "tell changed its arguments")
    argument_codes[:], argument_losses[:] = 0, 0
    run.remove_pending(proposals)


def _require_equal_proposals(first: SimulatedRun, second: SimulatedRun, condition: str) -> None:
    number = find_difference(first, second)
    require(number is None, f"ask {number} was answered differently, {condition}")


def _count_distinct(run: SimulatedRun) -> int:
    return len(np.unique(run.proposals, axis=0))


PROTOCOL_CHECKS = (
    settings,
    seed,
    another_seed,
    replays,
    alone,
    global_random,
    codes,
    duplicates,
    waiting,
    exhausted,
    inputs,
)
