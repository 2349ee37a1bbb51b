"""Peak throughput of known GPUs."""

from __future__ import annotations

import re

# Dense bfloat16 with float32 accumulation, in TFLOP/s, from the vendor's data sheets. The first
# matching name counts: an H100 PCIe and an H100 NVL are slower than an H100 SXM, whose name
# contains neither suffix.
_BFLOAT16_TFLOPS = (
    (r"H100 PCIe", 756.5),
    (r"H100 NVL", 835.5),
    (r"H100|H200|GH200", 989.4),
    (r"B200", 2250.0),
    (r"A100", 311.9),
    (r"A40\b", 149.7),
    (r"RTX A6000", 154.8),
    (r"L40S", 362.1),
    (r"L4\b", 121.0),
    (r"RTX 4090(?! D)", 165.2),
    (r"RTX 3090(?! Ti)", 71.0),
    (r"RTX 3080(?! Ti)", 59.5),
)


def peak_flops(name: str, precision: str) -> float | None:
    """Return the peak throughput of a GPU in operations per second; None if it is unknown.

    Parameters
    ----------
    name
        Name of the GPU as torch reports it.
    precision
        ``"bfloat16"``; other precisions are unknown.

    Examples
    --------
    >>> peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    989400000000000.0
    """
    if precision != "bfloat16":
        return None
    for pattern, tflops in _BFLOAT16_TFLOPS:
        if re.search(pattern, name):
            return tflops * 1e12
    return None
