"""Checks of the codes of a family of spaces.

The name of each function, with hyphens, is that of its check; its docstring is the requirement.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.testing.checks import CheckFailed, NotJudged, require
from hwnas.testing.space_harness import SpaceUnderTest
from hwnas.typing import BoolArray, Codes, IntArray

_N_SAMPLES = 4000  # of which the frequencies of choices are compared
_MAX_DEVIATION = 6.0  # of a frequency, in standard deviations
_MAX_CONNECTED = 2000  # members of a space whose neighbours are all followed
_N_STARTS = 20  # members whose neighbours are looked at


def size(subject: SpaceUnderTest) -> str:
    """Its size is the exact number of members, and enumerate yields each of them once."""
    for space in subject.spaces:
        require(type(space.size) is int and space.size >= 1, f"{space.name}: size {space.size!r}")
    small = subject.small_spaces
    if not small:
        raise NotJudged("no space has at most 20,000 members; give the settings of a small one")
    for space in small:
        codes = np.concatenate(list(space.enumerate()))
        require(space.is_valid(codes).all(), f"enumerate of {space.name} yields invalid codes")
        n_distinct = len(np.unique(codes, axis=0))
        require(n_distinct == len(codes), f"enumerate of {space.name} yields a member twice")
        require(len(codes) == space.size, f"{space.name}: size {space.size}, {len(codes)} members")
    return ", ".join(str(space.size) for space in small) + " members"


def samples(subject: SpaceUnderTest) -> str:
    """It samples canonical codes by the generator alone, with every choice equally often.

    A choice is compared among the samples in which it exists; of allowed combinations of a layer's
    choices all are equally frequent.
    """
    for space in subject.spaces:
        codes = space.sample(_N_SAMPLES, np.random.default_rng(0))
        _require_codes(space, codes, "sample")
        repeated = space.sample(_N_SAMPLES, np.random.default_rng(0))
        require(
            (codes == repeated).all(), f"sample of {space.name} differs with the same generator"
        )
        require(len(space.sample(0, np.random.default_rng(0))) == 0, "sample(0) is not empty")
        active = space.active(codes)
        outside = space.global_columns.tolist()
        for column in outside if space.options is not None else range(len(space.columns)):
            counts = np.bincount(
                codes[active[:, column], column], minlength=int(space.cardinalities[column])
            )
            _require_uniform(counts, f"{space.name}: {space.columns[column]}")
        if space.options is not None:
            for i, layer in enumerate(space.layer_columns):
                present = _is_present(space, codes, i)
                index = space.options.index(codes[present][:, layer])
                counts = np.bincount(index, minlength=len(space.options))
                _require_uniform(counts, f"{space.name}: options of layer {i}")
    return f"{_N_SAMPLES} samples of each space"


def _is_present(space: SearchSpace, codes: Codes, layer: int) -> BoolArray:
    """Return a mask (n,) of the codes that have a layer."""
    group = space.groups[layer]
    return np.isin(codes[:, group.parent], group.when)


def _require_uniform(counts: IntArray, label: str) -> None:
    """Require that counts are about equal."""
    total, share = counts.sum(), 1 / len(counts)
    deviation = np.abs(counts - total * share).max()
    limit = _MAX_DEVIATION * max(1.0, np.sqrt(total * share * (1 - share)))
    require(deviation <= limit, f"{label} occur {counts.tolist()} times among {total} samples")


def canonical(subject: SpaceUnderTest) -> str:
    """canonical makes a canonical code of any numbers, and leaves canonical codes as they are."""
    rng = np.random.default_rng(0)
    for space in subject.spaces:
        raw = rng.normal(0, 2 * space.cardinalities, size=(300, len(space.columns)))
        raw[0], raw[1] = np.nan, np.inf
        copy = raw.copy()
        codes = space.canonical(raw)
        require(np.array_equal(raw, copy, equal_nan=True), "canonical changes its argument")
        _require_codes(space, codes, "canonical")
        require((space.canonical(codes) == codes).all(), f"{space.name}: canonical is not stable")
        inactive = codes * ~space.active(codes)
        require(not inactive.any(), f"{space.name}: an inactive column is not 0")
    return "canonical"


def decode(subject: SpaceUnderTest) -> str:
    """decode and encode are inverse, members hash by value, and invalid codes are refused."""
    for space in subject.spaces:
        codes = np.unique(subject.codes(space), axis=0)
        members = space.decode(codes)
        require(len(members) == len(codes), f"decode of {len(codes)} codes gave {len(members)}")
        encoded = space.encode(members)
        _require_codes(space, encoded, "encode")
        if (difference := (encoded != codes).any(axis=1)).any():
            i = int(difference.argmax())
            raise CheckFailed(f"code {codes[i].tolist()} becomes {encoded[i].tolist()}")
        require(len({*members, *space.decode(codes)}) == len(codes), "members do not hash by value")
        require(space.encode([]).shape == (0, len(space.columns)), "encode([]) has another shape")
        invalid = codes[:1].astype(np.int64)
        invalid[0, 0] = space.cardinalities[0]
        try:
            space.decode(invalid)
        except InvalidInput:
            continue
        raise CheckFailed(f"decode accepts {invalid[0].tolist()} in {space.name}")
    return f"{len(subject.spaces)} spaces"


def neighbours(subject: SpaceUnderTest) -> str:
    """Neighbours are distinct other members, and lead from any member to any other."""
    for space in subject.spaces:
        for code in subject.codes(space)[:_N_STARTS]:
            near = space.neighbours(code)
            _require_codes(space, near, "neighbours")
            require(len(np.unique(near, axis=0)) == len(near), "a neighbour occurs twice")
            require(not (near == code).all(axis=1).any(), "a member is a neighbour of itself")
            require(len(near) or space.size == 1, f"{code.tolist()} has no neighbours")
    connected = [space for space in subject.small_spaces if space.size <= _MAX_CONNECTED]
    for space in connected:
        for start in subject.codes(space)[:2]:
            n = _count_reachable(space, start)
            require(n == space.size, f"{n} of {space.size} members of {space.name} can be reached")
    return f"{len(connected)} of {len(subject.spaces)} spaces followed completely"


def _count_reachable(space: SearchSpace, start: Codes) -> int:
    """Return the number of members that neighbours lead to from a code (d,)."""
    reached, frontier = {start.tobytes()}, [start]
    while frontier:
        new = [row for code in frontier for row in space.neighbours(code)]
        frontier = []
        for row in new:
            if (key := row.tobytes()) not in reached:
                reached.add(key)
                frontier.append(row)
    return len(reached)


def closed_forms(subject: SpaceUnderTest) -> str:
    """Its closed forms are positive integers that depend on each code alone."""
    if not subject.cls.closed_forms:
        raise NotJudged("it has no closed forms")
    for space in subject.spaces:
        codes = subject.codes(space)
        for form in space.closed_forms:
            values = getattr(space, form)(codes)
            require(isinstance(values, np.ndarray), f"{form} gives a {type(values).__name__}")
            require(values.shape == (len(codes),), f"{form} gives the shape {values.shape}")
            require(np.issubdtype(values.dtype, np.integer), f"{form} gives {values.dtype}")
            require((values > 0).all(), f"{form} of {space.name} is {values.min()}")
            rows = [int(getattr(space, form)(code[None])[0]) for code in codes[:20]]
            require(rows == values[:20].tolist(), f"{form} of a code depends on the others")
    return ", ".join(subject.cls.closed_forms)


def _require_codes(space: SearchSpace, codes: Codes, call: str) -> None:
    """Require canonical codes (n, d) int8, C-contiguous."""
    start = f"{call} of {space.name}"
    require(codes.dtype == np.int8, f"{start} gives {codes.dtype}")
    require(codes.ndim == 2 and codes.shape[1] == len(space.columns), f"{start}: {codes.shape}")
    require(codes.flags.c_contiguous, f"{start} gives an array that is not C-contiguous")
    valid = space.is_valid(codes)
    if not valid.all():
        raise CheckFailed(f"{start} gives {codes[int(np.argmin(valid))].tolist()}, not canonical")


CODE_CHECKS = (size, samples, canonical, decode, neighbours, closed_forms)
