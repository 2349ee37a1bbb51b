"""Protocols of the published figures: the measurements behind HW-GPT-Bench's numbers.

HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299) measured 10,000 architectures of each scale.
The facts below are those of its programs and settings, github.com/automl/HW-GPT-Bench: the
profilers, one for each scale, as of commit 795cba8 (23 May 2024), the settings of devices and the
supernet as of commit 1f43ee8. Later versions have one profiler for all scales, whose batch
contradicts the published latencies: ``docs/benchmark.md`` has the details, and what is unknown.
"""

from __future__ import annotations

from hwnas.surrogates.devices import DEVICES

# Sequences in a batch: fewer for larger models, except for the energy of GPUs.
BATCH_SIZES = {"gpt-s": 8, "gpt-m": 4, "gpt-l": 1}
GPU_ENERGY_BATCH_SIZE = 8
TOKENS = 1024

_PERPLEXITY = (
    "OpenWebText, sequences of 1,024 GPT-2 tokens, float16; weights inherited from a supernet "
    "trained on OpenWebText, not trained alone"
)


def published_meaning(metric: str, scale: str, device: str = "") -> str:
    """Return the protocol of a published metric as a short text, empty for an unknown metric.

    Parameters
    ----------
    metric
        ``"perplexity"``, ``"latency"``, ``"energy"``, ``"float16_memory"`` or
        ``"bfloat16_memory"``.
    scale
        ``"gpt-s"``, ``"gpt-m"`` or ``"gpt-l"``.
    device
        Device of a latency or an energy; empty for a text that holds for all of them.

    Examples
    --------
    >>> published_meaning("latency", "gpt-s", "h100")
    'one forward pass of 8 x 1,024 random tokens, bfloat16 autocast'
    """
    batch = BATCH_SIZES[scale]
    if metric == "perplexity":
        return _PERPLEXITY
    if metric == "latency":
        return _forward_pass(batch, device)
    if metric == "energy":
        return _energy(batch, device)
    precision, _, suffix = metric.rpartition("_")
    if suffix != "memory":
        return ""
    workload = f"{_workload(batch)}, {precision} autocast"
    # float16 was measured on an RTX 2080, bfloat16 on an A100.
    return f"GPU memory that torch holds after {workload}; not the peak during the pass"


def _energy(batch: int, device: str) -> str:
    """Return the protocol of an energy: GPUs and CPUs have different meters and batches."""
    kind = DEVICES[device].kind if device else ""
    if kind == "GPU":
        return f"{_forward_pass(GPU_ENERGY_BATCH_SIZE, device)}; nvidia-smi's power x time"
    if kind == "CPU":
        return f"{_forward_pass(batch, device)}; estimate of CodeCarbon"
    return (
        f"{_workload(GPU_ENERGY_BATCH_SIZE)} on GPUs, by nvidia-smi's power x time; of {batch} x "
        f"{TOKENS:,} on CPUs, estimated by CodeCarbon"
    )


def _forward_pass(batch: int, device: str) -> str:
    """Return a workload with its precision on a device, or on all of them for an empty name."""
    precision = "16-bit autocast on GPUs, float32 on CPUs"
    if device:
        precision = DEVICES[device].precision
        precision += "" if precision == "float32" else " autocast"
    return f"{_workload(batch)}, {precision}"


def _workload(batch: int) -> str:
    return f"one forward pass of {batch} x {TOKENS:,} random tokens"
