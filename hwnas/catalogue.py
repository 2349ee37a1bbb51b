"""What there is to choose from, and what is known of it: the tables of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from hwnas import registry
from hwnas.architectures import Architecture
from hwnas.backends import all_metrics
from hwnas.errors import HwnasError, InvalidInput, UnknownName
from hwnas.fronts import Front
from hwnas.objectives import parse_constraints, parse_objectives
from hwnas.spaces import GPT_SPACES, space
from hwnas.surrogates import Surrogate, surrogate

Table = tuple[list[str], list[list[Any]]]


def listing(what: str, verbose: bool = False) -> Table:
    """A table of everything of a kind.

    Parameters
    ----------
    what
        ``"optimizers"``, ``"backends"``, ``"spaces"``, ``"devices"`` or ``"metrics"``.
    verbose
        With settings, defaults and references.
    """
    if what in ("optimizers", "backends"):
        return _components(cast(registry.Kind, what.removesuffix("s")), verbose)
    if what == "spaces":
        return _spaces()
    return _devices() if what == "devices" else _metrics()


def figures(archs: Sequence[Architecture], devices: Sequence[str] | None = None) -> Table:
    """What the surrogate benchmark says of architectures.

    Parameters
    ----------
    archs
        Of one space.
    devices
        Only these; all by default.

    Returns
    -------
    header, rows
        For one architecture a row for each metric with its median, 0.1 and 0.9 quantile; for
        several a row each with medians.

    Raises
    ------
    InvalidInput
        The architectures are of several spaces, of one without figures, or not in their space.
    UnknownName
        There is no such device.
    """
    names = {arch.space for arch in archs}
    if len(names) != 1:
        raise InvalidInput(f"expected architectures of one space, found {', '.join(sorted(names))}")
    bench = surrogate(names.pop())
    codes = bench.space.encode(archs)
    known = _device_names(bench)
    for device in devices or ():
        if device not in known:
            raise UnknownName("device", device, known)
    wanted = {
        name: metric
        for name, metric in all_metrics(bench).items()
        if "@" not in name or devices is None or name.partition("@")[2] in devices
    }
    if len(archs) > 1:
        values = bench.predict(codes, list(wanted)).tolist()
        return ["arch", *wanted], [[str(a), *row] for a, row in zip(archs, values, strict=True)]
    medians = bench.predict(codes, list(wanted))[0].tolist()
    rows: list[list[Any]] = []
    for (name, metric), median in zip(wanted.items(), medians, strict=True):
        outer: list[Any] = ["", ""]
        if metric.quantiles:
            outer = bench.quantiles(codes, name, levels=[0.1, 0.9])[0].tolist()
        exact = name in ("params", "flops")
        rows.append([name, metric.unit, int(median) if exact else median, *outer])
    return ["metric", "unit", "median", "p10", "p90"], rows


@dataclass(frozen=True)
class NamedFront:
    """A front, its architectures and a title."""

    front: Front
    archs: list[Architecture]
    title: str


def exact_front(
    name: str, objectives: list[str], constraints: list[str], best: int | None = None
) -> NamedFront:
    """The exact Pareto front of the surrogate benchmark.

    Raises
    ------
    InvalidInput
        The space has no figures, an objective is wrong, or no exact front is known for these.
    """
    bench = surrogate(name)
    wanted, kept = parse_objectives(objectives), parse_constraints(constraints)
    front = bench.front(wanted, kept)
    if front is None:
        raise InvalidInput(f"no exact front is known for {', '.join(objectives + constraints)}")
    title = f"{name}: exact front, {len(front)} networks"
    if best is not None:
        front = front.best(best)
        title += f", the best {len(front)}"
    return NamedFront(front, bench.space.decode(front.codes), title)


def _components(kind: registry.Kind, verbose: bool) -> Table:
    rows = []
    for name in registry.names(kind):
        try:
            cls = registry.lookup(kind, name)
        except HwnasError as error:
            rows.append([name, str(error)] + [""] * (2 * verbose))
            continue
        summary, reference = _documentation(cls)
        settings = ", ".join(
            key if p.default is inspect.Parameter.empty else f"{key}={p.default!r}"
            for key, p in registry.settings_of(cls).items()
        )
        rows.append([name, summary] + ([settings, reference] if verbose else []))
    header = ["name", "what it is"]
    return header + (["settings", "reference"] if verbose else []), rows


def _documentation(cls: type) -> tuple[str, str]:
    """First line and references of a class's docstring."""
    text = inspect.getdoc(cls) or ""
    _, _, reference = text.partition("References\n----------\n")
    return text.partition("\n")[0].rstrip("."), " ".join(reference.split())


def _spaces() -> Table:
    rows = []
    for name in GPT_SPACES:
        s = space(name)
        choices = (s.embed_dim, s.n_layer, s.mlp_ratio, s.n_head)
        rows.append([name, f"{s.size:.3g}", *(" ".join(map(str, c)) for c in choices)])
    return ["name", "networks", "embed_dim", "n_layer", "mlp_ratio", "n_head"], rows


def _devices() -> Table:
    return ["name"], [[name] for name in _device_names(surrogate("gpt-s"))]


def _metrics() -> Table:
    rows = []
    for name, metric in all_metrics(surrogate("gpt-s")).items():
        metric_name, at, device = name.partition("@")
        if not at or device == _device_names(surrogate("gpt-s"))[0]:
            shown = metric_name + ("@DEVICE" if at else "")
            rows.append(
                [shown, metric.unit, metric.cost, "p10 ... p90" if metric.quantiles else ""]
            )
    return ["name", "unit", "cost", "quantiles"], rows


def _device_names(bench: Surrogate) -> list[str]:
    return list(dict.fromkeys(n.partition("@")[2] for n in bench.metrics if "@" in n))
