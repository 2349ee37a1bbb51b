"""Launches of kernels that begin before the kernel before them has ended.

Weights, and what earlier steps left in the cache, depend on no kernel of this step. A kernel reads
them first, while the one before it ends, and then waits for its output. GPUs can do this from
compute capability 9.0 on (CUDA programming guide, "Programmatic Dependent Launch").
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def begin(PDL: tl.constexpr):
    """Let the next kernel start its loads of weights, which depend on no other kernel."""
    if PDL:
        gdc_launch_dependents()


@triton.jit
def wait(PDL: tl.constexpr):
    """Wait for the end of the kernel before this one, whose output is read from here on."""
    if PDL:
        gdc_wait()


def dependent_launch(x: Tensor) -> dict[str, bool]:
    """Return the arguments of a launch that may begin before the kernel before it has ended."""
    has_it = x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0)
    return {"PDL": True, "launch_pdl": True} if has_it else {"PDL": False}
