"""Capture of a function's GPU work as a CUDA graph, and the compiler of our own kernels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch

_WARM_UP = 3  # runs before the capture

Output = TypeVar("Output")


@lru_cache
def _capture_stream(index: int) -> torch.cuda.Stream:
    """Return the stream of a device for captures.

    It is shared by all captures: cuBLAS never releases the workspace of a stream.
    """
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


def capture_graph(run: Callable[[], Output], *, warm_up: int = _WARM_UP) -> Callable[[], Output]:
    """Capture a function on the current CUDA device and return one that replays it.

    A replay reads and writes the memory of the capture, and returns the same output: inputs are
    changed in place, and the output holds the values of the last replay.
    """
    # Libraries select kernels and allocate workspaces in the first runs. This must happen before
    # the capture, on a side stream (PyTorch documentation, "CUDA graphs").
    stream = _capture_stream(torch.cuda.current_device())
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_up):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()

    def replay() -> Output:
        graph.replay()
        return output

    return replay


@lru_cache
def has_triton() -> bool:
    """Return whether Triton, which torch brings with CUDA on Linux, is installed."""
    return importlib.util.find_spec("triton") is not None
