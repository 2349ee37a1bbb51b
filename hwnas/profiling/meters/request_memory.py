"""Peak memory of a request: weights, cache and the largest intermediate results."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import torch

from hwnas.profiling.generation import Generator, cast_for_inference
from hwnas.profiling.language_model import LanguageModel
from hwnas.profiling.meters.forward_pass import environment
from hwnas.profiling.meters.memory import (
    MB,
    PeakMemory,
    described_model,
    minimal_model,
    model_description,
    peak_resident_memory,
    run_child,
)
from hwnas.profiling.meters.request_protocol import RequestProtocol
from hwnas.workloads import Workload


def request_memory(
    model: LanguageModel, workload: Workload, protocol: RequestProtocol, *, time_limit: float = 600
) -> PeakMemory:
    """Measure the peak memory of a request: its prefill, and its last step.

    On CUDA passes run without graphs, which allocate their memory when they are captured.

    Parameters
    ----------
    model
        Model on its device, in the precision of the workload. On a CPU a separate process builds it
        again.
    workload
        The requests.
    protocol
        Protocol of the other measurements of the workload.
    time_limit
        Maximum duration of the separate process in seconds.

    Raises
    ------
    OutOfMemory, TimedOut, TrialFailed
        The measurement failed.
    """
    protocol = replace(protocol, mode="eager")
    if model.device.type == "cuda":
        return _measure_on_cuda(model, workload, protocol)
    task = {
        **model_description(model),
        "workload": asdict(workload),
        "threads": protocol.threads,
    }
    action = f"peak memory of {model.arch}"
    peak, baseline = run_child(__name__, task, action, time_limit)
    return PeakMemory(peak / MB, None, baseline / MB, protocol, environment(torch.device("cpu")))


def _measure_on_cuda(
    model: LanguageModel, workload: Workload, protocol: RequestProtocol
) -> PeakMemory:
    device = model.device
    # Workspaces of earlier measurements are not part of this one, nor are other tensors, such as
    # the weights that are trained.
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    foreign_bytes = torch.cuda.memory_allocated(device) - model_bytes(model)
    _run_request(model, workload)
    torch.cuda.reset_peak_memory_stats(device)
    _run_request(model, workload)
    torch.cuda.synchronize(device)
    return PeakMemory(
        (torch.cuda.max_memory_allocated(device) - foreign_bytes) / MB,
        torch.cuda.max_memory_reserved(device) / MB,
        model_bytes(model) / MB,
        protocol,
        environment(device),
    )


def model_bytes(model: LanguageModel) -> int:
    """Return the bytes of all weights and buffers; what is shared counts once.

    Examples
    --------
    >>> from hwnas.profiling.meters.memory import minimal_model
    >>> model_bytes(minimal_model()) > 4 * minimal_model().params
    True
    """
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def _run_request(model: LanguageModel, workload: Workload) -> None:
    """Run the prefill of a request, and its last step, which attends to most positions."""
    with Generator(
        model, batch=workload.batch, positions=workload.positions, mode="eager"
    ) as generator:
        generator.prefill_pass(workload.prompt)()
        if workload.generate > 1:
            generator.step_pass(workload.positions - 2)()


def child_main() -> None:
    """Run the request that is described on the command line; print peak and baseline, in bytes."""
    task = json.loads(sys.argv[1])
    workload = Workload(**task["workload"])
    torch.set_num_threads(task["threads"])
    small = replace(workload, prompt=1, generate=2, batch=1)
    _run_request(cast_for_inference(minimal_model(), workload.precision), small)
    baseline = peak_resident_memory()
    _run_request(cast_for_inference(described_model(task), workload.precision), workload)
    print(json.dumps([peak_resident_memory(), baseline]))
