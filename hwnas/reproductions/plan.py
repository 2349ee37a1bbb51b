"""Experiments of a reproduction: for every scale, device and metric of HW-GPT-Bench."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.api import resume, run
from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.experiment import Experiment, read_experiment
from hwnas.runner.results import Result
from hwnas.runner.search_loop import SearchRun
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.published import SCALES
from hwnas.yaml_loader import read_yaml

# Kinds of experiments, which are also names of files and folders.
TWO, THREE, NOISE = "two-objectives", "three-objectives", "noise"
WITHOUT_DEVICE = ("float16_memory", "bfloat16_memory", "params", "flops")

# Estimates of the seconds of one search with 200 evaluations and two objectives, on one core of
# about 2 GHz. A factor of two is accurate enough: the estimate of the remaining time is corrected
# after every experiment.
_SECONDS = {"lsbo": 75.0, "rsbo": 75.0, "ehvi": 75.0}
_DEFAULT_SECONDS = 0.5  # all optimizers without a Gaussian process
_KIND_FACTORS = {TWO: 1.0, THREE: 1.6, NOISE: 1.5}
_STARTUP_SECONDS = 8.0  # of the worker processes of an experiment

Progress = Callable[[SearchRun, int], None]


@dataclass(frozen=True, eq=False)
class PlannedExperiment:
    """One experiment of a reproduction.

    Attributes
    ----------
    kind
        `TWO`, `THREE` or `NOISE`, the experiment file that it is made from.
    target
        Its objective besides perplexity, or its device.
    experiment
        The experiment with all settings.
    """

    kind: str
    target: str
    experiment: Experiment

    @property
    def folder(self) -> str:
        """Directory of its run, relative to the reproduction's ``runs``."""
        return f"{self.kind}/{self.experiment.space}/{self.target}"


def planned_experiments(*, quick: bool) -> list[PlannedExperiment]:
    """Return all experiments, those of the smallest scale first.

    Parameters
    ----------
    quick
        Return a small selection with few evaluations, which takes minutes.
    """
    if quick:
        settings = {"budget.evaluations": 40, "seeds": 2}
        return [
            _two_objectives("gpt-s", "latency@rtx2080", settings),
            _two_objectives("gpt-s", "energy@cpu_xeon_gold", settings),
            _two_objectives("gpt-s", "bfloat16_memory", settings),
            _on_device("gpt-s", "rtx2080", THREE, settings),
            _on_device("gpt-s", "rtx2080", NOISE, settings),
        ]
    # Experiments of a scale stay together, so that its figures are complete early.
    experiments = []
    for scale in scales(quick=False):
        targets = [f"{metric}@{device}" for metric in ("latency", "energy") for device in DEVICES]
        targets += WITHOUT_DEVICE
        experiments += [_two_objectives(scale, target, {}) for target in targets]
        experiments += [
            _on_device(scale, device, kind, {}) for kind in (THREE, NOISE) for device in DEVICES
        ]
    return experiments


def scales(*, quick: bool) -> list[str]:
    """Return the names of the search spaces of a reproduction."""
    return ["gpt-s"] if quick else list(SCALES)


def _two_objectives(scale: str, target: str, settings: Mapping[str, object]) -> PlannedExperiment:
    return _plan_experiment(TWO, scale, target, ["perplexity", target], settings)


def _on_device(
    scale: str, device: str, kind: str, settings: Mapping[str, object]
) -> PlannedExperiment:
    metrics = ("latency", "energy") if kind == THREE else ("latency",)
    objectives = ["perplexity", *(f"{metric}@{device}" for metric in metrics)]
    return _plan_experiment(kind, scale, device, objectives, settings)


def _plan_experiment(
    kind: str, scale: str, target: str, objectives: list[str], settings: Mapping[str, object]
) -> PlannedExperiment:
    name = f"{kind}.{scale}.{target.replace('@', '.')}"
    overrides = {"name": name, "space": scale, "objectives": objectives, **settings}
    return PlannedExperiment(kind, target, read_experiment(f"paper/{kind}", overrides)[0])


def estimate_seconds(experiments: Sequence[PlannedExperiment], workers: int) -> float:
    """Estimate the time that experiments take, in seconds."""
    total = 0.0
    for planned in experiments:
        experiment = planned.experiment
        evaluations = experiment.budget.evaluations or 0
        # Models are fitted again and again to more and more observations: more than linear.
        factor = _KIND_FACTORS[planned.kind] * (evaluations / 200) ** 1.3
        seconds = [
            _SECONDS.get(entry.type, _DEFAULT_SECONDS) * factor for entry in experiment.optimizers
        ]
        total += len(experiment.seeds) * sum(seconds) / workers + _STARTUP_SECONDS
    return total


def format_duration(seconds: float) -> str:
    """Return a duration in a convenient unit.

    Examples
    --------
    >>> format_duration(41), format_duration(240), format_duration(70_000)
    ('50 s', '4 min', '19 h')
    """
    if seconds < 90:
        return f"{math.ceil(seconds / 10) * 10:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def load_complete(path: Path, planned: PlannedExperiment) -> Result | None:
    """Return the result of an experiment, or None unless all of its searches are finished.

    Raises
    ------
    InvalidInput
        The directory holds another experiment.
    """
    if not (path / "experiment.yaml").is_file():
        return None
    if read_yaml(path / "experiment.yaml") != planned.experiment.model_dump():
        raise InvalidInput(f"{path}: holds another experiment; choose another directory with --out")
    try:
        result = Result(path)
    except InvalidInput:
        return None  # it was killed before its first trial
    expected = len(planned.experiment.optimizers) * len(planned.experiment.seeds)
    finished = sum("finished" in search.meta for search in result.searches)
    # The summary is the last file of a run.
    return result if finished == expected and (path / "summary.csv").is_file() else None


def run_or_resume(
    planned: PlannedExperiment, out: Path, workers: int, progress: Progress
) -> Result:
    """Run an experiment, or the searches that are missing; return its result."""
    path = out / "runs" / planned.folder
    result = load_complete(path, planned)
    if result is not None:
        return result
    with warnings.catch_warnings():
        # MOASHA warns that it has only one rung here. The paper's MOASHA has only one as well.
        warnings.simplefilter("ignore", HwnasWarning)
        if (path / "experiment.yaml").is_file():
            return resume(path, workers=workers, progress=progress)
        return run(planned.experiment, path, workers=workers, progress=progress)
