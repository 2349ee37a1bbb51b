"""Smaller versions of a model, step by step, in one directory that a killed process continues.

::

    plan.json                    settings
    space.yaml, experiment.yaml  the problem, for ``hwnas run`` with any optimizer
    times-WORKLOAD.csv           measured networks; times.npz, the tables of all times
    order.npz                    order of heads and neurons
    scores.csv                   loss that each alternative of a layer adds alone
    evaluations.csv              evaluated members, with what was predicted
    tables.npz                   tables of loss and times, for ``hwnas front`` and ``explore``
    front.csv, report.md         results
    members/                     healed and exported members
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.errors import HwnasWarning, InvalidInput, UnknownName
from hwnas.files import locked, write_text
from hwnas.profiling.device_profiler import DeviceProfiler
from hwnas.shrinking.backend import TIMES, Shrink
from hwnas.shrinking.block_scores import score_blocks
from hwnas.shrinking.block_times import figures_of_log, measure_networks
from hwnas.shrinking.evaluations import evaluated_losses, evaluator
from hwnas.shrinking.front_search import SearchedFront, search_front
from hwnas.shrinking.members import space_of_members, with_equal_layers
from hwnas.shrinking.plan import ORDER, Plan, Workbench, resolve_device
from hwnas.shrinking.pretrained import load_pretrained
from hwnas.shrinking.report import write_results
from hwnas.spaces import ShrunkLlamaSpace
from hwnas.surrogates.added_devices import AddedDevices
from hwnas.surrogates.device_file import TABLES, DeviceFigure, DeviceFile, read_device_file
from hwnas.surrogates.device_library import load_device
from hwnas.typing import Array
from hwnas.workloads import BUILT_IN, Workload
from hwnas.yaml_loader import dump_yaml

SCORES = "scores.csv"
MACHINES = ("cpu", "cuda")
_MAX_ERROR = 0.1  # of times, above which there is a warning

Say = Callable[[str], None]


@dataclass(frozen=True)
class ShrinkResult:
    """Result of `shrink`.

    Attributes
    ----------
    backend
        Problem of the members, with the model.
    search
        Evaluated members and their front.
    objective
        Time that was minimized, ``"latency.serve@cuda"``.
    """

    backend: Shrink
    search: SearchedFront
    objective: str


def shrink(
    plan: Plan,
    folder: str | Path,
    *,
    workload: str = "serve",
    device: str = "auto",
    on: str = "auto",
    workloads: Mapping[str, Workload] = BUILT_IN,
    networks: int = 30,
    evaluations: int = 60,
    max_perplexity: float = 3.0,
    within: float = 0.01,
    max_seconds: float = 5.0,
    seed: int = 0,
    say: Say = lambda line: None,
) -> ShrinkResult:
    """Find the front of loss and time of the smaller versions of a model; continue a directory.

    Parameters
    ----------
    plan
        Model, text, and how parts are kept.
    folder
        Directory to create or to continue.
    workload, workloads
        Workload whose time is minimized, and the known ones by name.
    device
        ``"cpu"``, ``"cuda"`` or ``"auto"`` measures here; else the name of a device that was added,
        which has tables for the space.
    on
        Device of scores and evaluations.
    networks
        Number of networks to measure.
    evaluations
        Number of members to evaluate, the whole model included.
    max_perplexity
        Multiple of the model's perplexity up to which members are searched.
    within, max_seconds
        Precision and maximum duration of the measurement of a time, see
        `hwnas.profiling.meters.latency.latency`.
    seed
        Seed of the search.
    say
        Called with lines of progress.

    Raises
    ------
    InvalidInput
        The model is none that is supported, the device has no tables for it, the directory is of
        other settings, or another process works in it.
    """
    folder = Path(folder)
    # What is wrong with arguments, model or text leaves no directory with a plan.
    if not 1 < max_perplexity < np.inf:
        raise InvalidInput(f"max_perplexity: expected a number above 1, found {max_perplexity}")
    if not 0 < max_seconds < np.inf:
        raise InvalidInput(f"max_seconds: expected a number above 0, found {max_seconds}")
    resolve_device(on)
    if folder.is_file():
        raise InvalidInput(f"{folder}: is a file, expected a directory to make")
    plan.check(folder)
    bench = Workbench(folder, resolve_device(on), plan)
    known_workload(workload, workloads).check(bench.space)
    _ = bench.corpus
    space = write_space(plan, folder)
    with locked(folder):
        if not (folder / ORDER).exists():
            _ = bench.model  # what is wrong with the weights is told before anything is measured
        del bench  # and with it the model
        objective = measure_times(
            space,
            folder,
            workload=workload,
            device=device,
            workloads=workloads,
            networks=networks,
            within=within,
            max_seconds=max_seconds,
            say=say,
        )
        backend = Shrink(space, folder=str(folder), device=on, workloads=workloads)
        scores = score_members(backend, say=say)
        search = search_front(
            space,
            scores,
            backend.times.table(objective),
            evaluator(backend),
            evaluations=evaluations,
            max_loss=float(np.log(max_perplexity)),
            seed=seed,
            report=lambda count, total: say(f"evaluated {count} of {total} members"),
        )
        result = ShrinkResult(backend, search, objective)
        write_results(folder, backend, search, objective)
        _write_experiment(result, workloads, max_perplexity)
    return result


def measure_times(
    space: ShrunkLlamaSpace,
    folder: Path,
    *,
    workload: str,
    device: str = "auto",
    workloads: Mapping[str, Workload] = BUILT_IN,
    networks: int = 30,
    within: float = 0.01,
    max_seconds: float = 5.0,
    say: Say = lambda line: None,
) -> str:
    """Write the tables of the times of a workload; return the metric, ``"latency.serve@cuda"``."""
    known_workload(workload, workloads).check(space)
    if device == "auto":
        device = resolve_device(device).type
    objective = f"latency.{workload}@{device}"
    if device.partition(":")[0] in MACHINES:
        resolve_device(device)
        profiler = DeviceProfiler(
            device=device,
            workloads={workload: workloads[workload]},
            within=within,
            max_seconds=max_seconds,
        )
        log = measure_networks(
            space,
            workload,
            profiler,
            folder / f"times-{workload}-{device.replace(':', '')}.csv",
            count=networks,
            report=lambda count, total: say(f"measured {count} of {total} networks"),
        )
        figures = figures_of_log(space, log, workload, workloads[workload], device)
        error = max(figure.error for figure in figures)
        if error > _MAX_ERROR:
            warnings.warn(
                f"times of {workload} on {device} have an expected error of {error:.0%}; close "
                "other programs and remove the file of times, or measure longer (--max-seconds) "
                "and more (--networks)",
                HwnasWarning,
                stacklevel=2,
            )
    else:
        figures = _figures_of_device(space, device, objective, workloads, folder)
    # Times of other workloads and devices stay in the file.
    former = _read_tables(folder / TIMES)
    unchanged = [f for f in former if f.quantity not in {figure.quantity for figure in figures}]
    DeviceFile("times", (*unchanged, *figures), kind=TABLES).write(folder / TIMES)
    return objective


def score_members(backend: Shrink, *, say: Say = lambda line: None) -> Array:
    """Return the losses (L, R, H) that alternatives add alone; continue a file of scores."""
    bench = backend.bench
    return score_blocks(
        bench.model,
        bench.space,
        bench.calibration,
        bench.folder / SCORES,
        report=lambda count, total: say(f"scored {count} of {total} layers"),
    )


def known_workload(name: str, workloads: Mapping[str, Workload]) -> Workload:
    """Return a workload by its name.

    Raises
    ------
    UnknownName
        There is none of that name.
    """
    if name not in workloads:
        raise UnknownName("workload", name, workloads)
    return workloads[name]


def write_space(plan: Plan, folder: Path) -> ShrunkLlamaSpace:
    """Write plan and space of a directory; return the space."""
    # What is wrong with the model is told before anything is written.
    shape = with_equal_layers(load_pretrained(plan.model, device="meta"))
    space = space_of_members(shape, head_steps=plan.head_steps, mlp_steps=plan.mlp_steps)
    plan.write(folder)
    write_text(folder / "space.yaml", dump_yaml(space.to_dict()))
    return space


def _figures_of_device(
    space: ShrunkLlamaSpace,
    device: str,
    objective: str,
    workloads: Mapping[str, Workload],
    folder: Path,
) -> list[DeviceFigure]:
    """Return the figures that an added device has for a space, named with the device.

    Raises
    ------
    InvalidInput
        It has none of the objective.
    """
    added = AddedDevices(space, {device: load_device(device)}, workloads)
    if objective not in added.figures:
        workload = objective.partition(".")[2].partition("@")[0]
        raise InvalidInput(
            f"device {device}: has no {objective} for {space.name}; measure it there with: hwnas "
            f"profile --space {folder}/space.yaml --count 40 --workload {workload} --out mine.csv, "
            f"and add it with: hwnas device add {device} --update --from mine.csv --space "
            f"{folder}/space.yaml"
        )
    return [
        DeviceFigure(
            space,
            key,
            added.table(key),
            figure.points,
            figure.error,
            figure.kendall,
            figure.workload,
            coverage=figure.coverage,
            spread=figure.spread,
        )
        for key, figure in added.figures.items()
    ]


def _read_tables(file: Path) -> Sequence[DeviceFigure]:
    """Return the figures of a file of tables, none if there is none.

    Raises
    ------
    InvalidInput
        The file is damaged.
    """
    try:
        return read_device_file(file).figures if file.exists() else ()
    except InvalidInput as error:
        raise InvalidInput(f"{error}; remove it, and it is made again") from None


def _write_experiment(
    result: ShrinkResult, workloads: Mapping[str, Workload], max_perplexity: float
) -> None:
    """Write an experiment of the members, for any optimizer."""
    space, folder = result.backend.members, result.backend.bench.folder
    losses = evaluated_losses(folder)
    full_loss = losses[str(space.decode(result.search.codes[:1])[0])]
    reference = [max_perplexity * float(np.exp(full_loss)), 1.05 * float(result.search.times[0])]
    own = {k: v for k, v in workloads.items() if k not in BUILT_IN}
    content = {
        "name": f"shrink-{space.name}",
        "space": space.to_dict(),
        "backend": {"type": "shrink", "folder": str(folder.resolve())},
        "objectives": ["perplexity", result.objective],
        "reference": reference,
        "optimizers": ["additive"],
        "budget": {"evaluations": 60},
        "seeds": 1,
        **({"workloads": {k: vars_of(v) for k, v in own.items()}} if own else {}),
    }
    write_text(folder / "experiment.yaml", dump_yaml(content))


def vars_of(workload: Workload) -> dict[str, object]:
    """Return a workload as keys and values."""
    names = ("prompt", "generate", "batch", "precision")
    return {name: getattr(workload, name) for name in names}
