"""The surrogate benchmark: predictions fitted to HW-GPT-Bench's published figures."""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.spaces import SearchSpace
from hwnas.spaces import space as named_space
from hwnas.surrogates.backend import Model, Surrogate
from hwnas.workloads import Workload

__all__ = ["Surrogate", "surrogate"]


def surrogate(
    space: str | SearchSpace,
    *,
    noise: bool = False,
    model: Model = "additive",
    workloads: Mapping[str, Workload] | None = None,
    devices: tuple[str, ...] | None = None,
    tables: str | tuple[str, ...] = (),
) -> Surrogate:
    """Return the surrogate backend of a space.

    Parameters
    ----------
    space
        ``"gpt-s"``, ``"gpt-m"``, ``"gpt-l"``, or a space cut down from one of them; or a space that
        an added device was measured on, or that tables are of.
    noise, model, workloads, devices, tables
        See `Surrogate`.

    Raises
    ------
    UnknownName
        No space has that name.
    InvalidInput
        There are neither published figures nor added ones for the space.

    Examples
    --------
    >>> surrogate("gpt-s").range("params")
    (22746240.0, 162246144.0)
    """
    search_space = space if isinstance(space, SearchSpace) else named_space(space)
    return Surrogate(
        search_space, noise=noise, model=model, workloads=workloads, devices=devices, tables=tables
    )
