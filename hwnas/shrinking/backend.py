"""The backend ``shrink``: smaller versions of a trained model, evaluated as they are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.backends import Backend, Evaluation, Status
from hwnas.errors import InvalidInput
from hwnas.objectives import Metric, Objective
from hwnas.profiling.errors import TrialFailed
from hwnas.profiling.meters.perplexity import Perplexity, perplexity
from hwnas.shrinking.importance import precision_of
from hwnas.shrinking.plan import Workbench, resolve_device
from hwnas.shrinking.sliced_model import SlicedLlama
from hwnas.spaces import SearchSpace, ShrunkLlamaSpace
from hwnas.surrogates.added_devices import AddedDevices, is_within
from hwnas.surrogates.device_library import load_tables
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.typing import Codes
from hwnas.workloads import BUILT_IN, Workload

TIMES = "times.npz"  # tables of times in a directory of smaller versions
_BATCH_TOKENS = 8192

_EVALUATED = {
    "perplexity": Metric(
        "", "expensive", meaning="held-out documents of your text, by token, without healing"
    ),
    "bits_per_byte": Metric("bits", "expensive", meaning="the same documents, by byte"),
    "loss": Metric("nats", "expensive", meaning="logarithm of the perplexity"),
}


class Shrink(Backend):
    """Smaller versions of a trained model, evaluated with the weights that they keep.

    ``perplexity``, ``bits_per_byte`` and ``loss`` are those of held-out documents; times such as
    ``latency.serve@cuda`` are those of the tables that ``hwnas shrink`` has measured or taken from
    a device.

    Parameters
    ----------
    folder
        Directory of ``hwnas shrink``.
    device
        Device of the evaluations: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where it
        is available.
    workloads
        Workloads by name; the built-in ones by default.

    Raises
    ------
    InvalidInput
        The directory is none of ``hwnas shrink``, or of another model than the space.
    """

    on_hardware = True

    def __init__(
        self,
        space: SearchSpace,
        *,
        folder: str,
        device: str = "auto",
        workloads: Mapping[str, Workload] | None = None,
    ) -> None:
        super().__init__(space)
        self.workloads = BUILT_IN if workloads is None else workloads
        self.bench = Workbench(Path(folder), resolve_device(device))
        if not is_within(space, self.bench.space):
            raise InvalidInput(
                f"folder: {folder} has smaller versions of {self.bench.space.name}, which space "
                f"{space.name} is not part of; expected the space of its experiment.yaml"
            )
        assert isinstance(space, ShrunkLlamaSpace)
        self.members = space
        file = Path(folder) / TIMES
        tables = load_tables(str(file)) if file.exists() else []
        self.times = AddedDevices(space, {}, self.workloads, tables)
        self.metrics = {**_EVALUATED, **self.times.metrics}
        self._layout = LayerLayout(space)

    def evaluate(
        self,
        codes: Codes,
        objectives: Sequence[Objective],
        *,
        seeds: NDArray[np.uint64],
        fidelity: int | None = None,
    ) -> Evaluation:
        """Evaluate members one after the other; see `hwnas.Backend`."""
        values = np.full((len(codes), len(objectives)), np.nan)
        packed = self._layout.pack(codes)
        for j, objective in enumerate(objectives):
            if objective.key not in _EVALUATED:
                values[:, j] = self.times.table(objective.key, objective.level).predict(packed)
        status: list[Status] = ["ok"] * len(codes)
        reasons, seconds = [""] * len(codes), np.zeros(len(codes))
        columns = [j for j, o in enumerate(objectives) if o.key in _EVALUATED]
        for i, arch in enumerate(self.members.decode(codes) if columns else []):
            start = time.perf_counter()
            try:
                result = self.quality(arch)
                for j in columns:
                    values[i, j] = _value(result, objectives[j].key)
            except TrialFailed as error:
                status[i], reasons[i] = "failed", f"{type(error).__name__}: {error}"
            seconds[i] = time.perf_counter() - start
        return Evaluation(values, status=status, seconds=seconds, reasons=reasons)

    def quality(self, arch: Any) -> Perplexity:
        """Return the perplexity of a member on the held-out documents.

        Raises
        ------
        TrialFailed
            It is not finite, or there is not enough memory.
        """
        bench = self.bench
        member = SlicedLlama(bench.model, arch, window=bench.window)
        size = max(1, _BATCH_TOKENS // member.context)
        return perplexity(
            member, bench.held_out, batch_size=size, precision=precision_of(bench.model)
        )

    def data_hash(self) -> str:
        """Return the SHA-256 of the text and its tokens."""
        return self.bench.corpus.sha256


def _value(result: Perplexity, name: str) -> float:
    """Return a metric of an evaluation."""
    if name == "bits_per_byte":
        return result.bits_per_byte
    return result.value if name == "perplexity" else float(np.log(result.value))
