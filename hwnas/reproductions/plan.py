"""What is run again: experiments that ship, for every scale, device and metric of HW-GPT-Bench."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasWarning, InvalidInput
from hwnas.experiment import Experiment, read_experiment
from hwnas.runner.results import Result
from hwnas.api import resume, run
from hwnas.runner.search_loop import SearchRun
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.published import SCALES
from hwnas.yaml_loader import read_yaml

TWO, THREE, NOISE = "two-objectives", "three-objectives", "noise"
WITHOUT_DEVICE = ("float16_memory", "bfloat16_memory", "params", "flops")

# Seconds of one search: 200 evaluations, two objectives, one core of some 2 GHz. They only have to
# be right to a factor of two; what is left is told anew after every experiment.
_SECONDS = {"lsbo": 75.0, "rsbo": 75.0, "ehvi": 75.0}
_OTHERS = 0.5
_MORE = {TWO: 1.0, THREE: 1.6, NOISE: 1.5}
_START = 8.0  # seconds until the processes of an experiment have begun

Progress = Callable[[SearchRun, int], None]


@dataclass(frozen=True, eq=False)
class Part:
    """One experiment of a reproduction.

    Attributes
    ----------
    kind
        `TWO`, `THREE` or `NOISE`, the file it comes from.
    what
        Its objective beside perplexity, or its device.
    experiment
        As it is run.
    """

    kind: str
    what: str
    experiment: Experiment

    @property
    def folder(self) -> str:
        """Where it is kept, below the reproduction's ``runs``."""
        return f"{self.kind}/{self.experiment.space}/{self.what}"


def parts(*, quick: bool) -> list[Part]:
    """All experiments, those of the smallest scale first.

    Parameters
    ----------
    quick
        A few of them with few evaluations, to see in minutes what there is to see.
    """
    if quick:
        few = {"budget.evaluations": 40, "seeds": 2}
        return [
            *(_two("gpt-s", w, few) for w in ("latency@rtx2080", "energy@cpu_xeon_gold")),
            _two("gpt-s", "bfloat16_memory", few),
            _on("gpt-s", "rtx2080", THREE, few),
            _on("gpt-s", "rtx2080", NOISE, few),
        ]
    out = []
    for scale in scales(quick=False):
        on_devices = [
            f"{metric}@{device}" for metric in ("latency", "energy") for device in DEVICES
        ]
        out += [_two(scale, what, {}) for what in (*on_devices, *WITHOUT_DEVICE)]
        out += [_on(scale, device, kind, {}) for kind in (THREE, NOISE) for device in DEVICES]
    return out


def scales(*, quick: bool) -> list[str]:
    """Names of the spaces that are looked at."""
    return ["gpt-s"] if quick else list(SCALES)


def _two(scale: str, what: str, changed: Mapping[str, object]) -> Part:
    return _part(TWO, scale, what, ["perplexity", what], changed)


def _on(scale: str, device: str, kind: str, changed: Mapping[str, object]) -> Part:
    metrics = ("latency", "energy") if kind == THREE else ("latency",)
    objectives = ["perplexity", *(f"{metric}@{device}" for metric in metrics)]
    return _part(kind, scale, device, objectives, changed)


def _part(
    kind: str, scale: str, what: str, objectives: list[str], changed: Mapping[str, object]
) -> Part:
    name = f"{kind}.{scale}.{what.replace('@', '.')}"
    overrides = {"name": name, "space": scale, "objectives": objectives, **changed}
    return Part(kind, what, read_experiment(f"paper/{kind}", overrides)[0])


def seconds(of: Sequence[Part], workers: int) -> float:
    """What experiments take, about, in seconds."""
    total = 0.0
    for part in of:
        seeds = len(part.experiment.seeds)
        evaluations = part.experiment.budget.evaluations or 0
        # Models are fitted again and again to more and more.
        share = _MORE[part.kind] * (evaluations / 200) ** 1.3
        each = [_SECONDS.get(entry.type, _OTHERS) * share for entry in part.experiment.optimizers]
        total += seeds * sum(each) / workers + _START
    return total


def told(duration: float) -> str:
    """Seconds as people say them: ``"50 s"``, ``"4 min"``, ``"19 h"``."""
    if duration < 90:
        return f"{math.ceil(duration / 10) * 10:.0f} s"
    if duration < 5400:
        return f"{duration / 60:.0f} min"
    return f"{duration / 3600:.0f} h"


def complete(path: Path, part: Part) -> Result | None:
    """What an experiment found, if all of its searches have come to their end.

    Raises
    ------
    InvalidInput
        Another experiment is there.
    """
    if not (path / "experiment.yaml").is_file():
        return None
    if read_yaml(path / "experiment.yaml") != part.experiment.model_dump(exclude_none=True):
        raise InvalidInput(f"{path}: holds another experiment; choose another directory with --out")
    try:
        result = Result(path)
    except InvalidInput:
        return None  # killed before its first trial
    wanted = len(part.experiment.optimizers) * len(part.experiment.seeds)
    done = sum("finished" in cell.meta for cell in result.searches)
    return result if done == wanted and (path / "summary.csv").is_file() else None


def completed(part: Part, out: Path, workers: int, progress: Progress) -> Result:
    """Run an experiment, or what is left of it."""
    path = out / "runs" / part.folder
    found = complete(path, part)
    if found is not None:
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HwnasWarning)  # MOASHA has one rung: so had the paper
        if (path / "experiment.yaml").is_file():
            return resume(path, workers=workers, progress=progress)
        return run(part.experiment, path, workers=workers, progress=progress)
