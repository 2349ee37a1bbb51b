"""Energy of requests, measured by an energy counter of the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hwnas.profiling.meters.energy import Energy, EnergyMeter, Power, enqueue_mark
from hwnas.profiling.meters.forward_pass import Environment
from hwnas.profiling.meters.generation import Part, Passes, request_parts
from hwnas.profiling.meters.latency import pass_timer
from hwnas.profiling.meters.request_protocol import RequestProtocol
from hwnas.profiling.meters.sustained_load import MIN_SEGMENT, CyclicLoad
from hwnas.profiling.meters.timing import replay_count
from hwnas.workloads import Workload

_PIECE = 10.0  # ms of decoding steps that are enqueued at once
_MIN_WINDOW = 8  # requests in a window, so that an incomplete one at its end matters little


def request_energy(
    meter: EnergyMeter,
    passes: Passes,
    workload: Workload,
    protocol: RequestProtocol,
    environment: Environment,
    *,
    within: float = 0.03,
    max_seconds: float = 10.0,
    idle: Power | None = None,
) -> Energy:
    """Measure the energy of a request of the whole batch, under requests one after the other.

    A prefill needs more power than decoding steps. Each segment of the window therefore lasts one
    whole request or several, and the window at least a second and eight requests, unless
    `max_seconds` is too short for them.

    Parameters
    ----------
    meter
        Meter of the device of `passes`.
    passes, workload
        Passes of the workload's batch, and the workload.
    protocol, environment
        Of the passes, for the result.
    within, max_seconds, idle
        See `EnergyMeter.measure`.

    Returns
    -------
    Energy
        Per request of the batch.
    """
    parts = request_parts(passes, workload)
    milliseconds = [part_ms(part, meter) for part in parts]
    request_seconds = sum(milliseconds) / 1e3
    load = CyclicLoad(
        split_parts(parts, milliseconds),
        enqueue_mark if meter.device.type == "cuda" else None,
        clock=meter.clock,
    )
    return meter.measure_load(
        load,
        protocol,
        environment,
        within=within,
        min_seconds=min(max(1.0, _MIN_WINDOW * request_seconds), max_seconds),
        max_seconds=max_seconds,
        idle=idle,
        segment_seconds=min(whole_requests(request_seconds), max_seconds / _MIN_WINDOW),
    )


def energy_per_token(energy: Energy, workload: Workload) -> float:
    """Return the energy per generated token in mJ."""
    return 1e3 * energy.joules / (workload.batch * max(workload.generate, 1))


def whole_requests(request_seconds: float) -> float:
    """Return the seconds of the fewest whole requests that fill a segment.

    Examples
    --------
    >>> round(whole_requests(0.02), 6), whole_requests(0.5)
    (0.06, 0.5)
    """
    return math.ceil(MIN_SEGMENT / request_seconds) * request_seconds


def split_parts(
    parts: Sequence[Part], milliseconds: Sequence[float]
) -> list[tuple[Callable[[], object], float]]:
    """Split the parts of a request into pieces of at most about 10 ms, where they can be split.

    Parameters
    ----------
    parts
        Parts of a request.
    milliseconds
        Duration of each part.

    Returns
    -------
    list
        Functions, and their shares of the duration of a request.
    """
    total = sum(milliseconds)
    pieces: list[tuple[Callable[[], object], float]] = []
    for part, ms in zip(parts, milliseconds, strict=True):
        n_pieces = min(part.count, max(1, math.ceil(ms / _PIECE)))
        # The first pieces of a part get the passes that are left over.
        counts = [part.count // n_pieces + (k < part.count % n_pieces) for k in range(n_pieces)]
        pieces += [(_piece(part, count), ms * count / part.count / total) for count in counts]
    return pieces


def _piece(part: Part, count: int) -> Callable[[], None]:
    def run_piece() -> None:
        run = part.prepare()
        for _ in range(count):
            run()

    return run_piece


def part_ms(part: Part, meter: EnergyMeter) -> float:
    """Return the duration of a part in ms, from a few of its passes."""
    run = part.prepare()
    run()
    replays = min(part.count, replay_count(pass_timer(run, meter.device)()))
    time_run = pass_timer(run, meter.device, replays=replays)
    return part.count * min(time_run() for _ in range(2))
