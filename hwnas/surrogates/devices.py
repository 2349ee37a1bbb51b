"""Hardware behind the device names of HW-GPT-Bench.

HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299) names its devices without describing them,
so a description holds only what the name settles. Where a model was sold with several memory sizes
all of them are listed; ``rtx2080`` may be the Ti or not; of the two Xeons only the family is known.
Core counts are those of the whole CPU: public job scripts of HW-GPT-Bench request eight cores.
Precisions are those of its configuration files (github.com/automl/HW-GPT-Bench, commit 1f43ee8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """Description of a device.

    Attributes
    ----------
    kind
        ``"GPU"`` or ``"CPU"``; empty where nothing is known.
    model
        Vendor, model and, in brackets, generation.
    size
        Memory of a GPU, cores of a CPU; empty where the name leaves it open.
    precision
        Number format of the published latencies and energies: on GPUs that of torch's autocast
        with float32 weights.
    """

    kind: Literal["GPU", "CPU", ""] = ""
    model: str = ""
    size: str = ""
    precision: Literal["bfloat16", "float16", "float32", ""] = ""


# Names and order as in HW-GPT-Bench.
DEVICES: dict[str, Device] = {
    "a100": Device("GPU", "NVIDIA A100 (Ampere)", "40 or 80 GB", "bfloat16"),
    "a40": Device("GPU", "NVIDIA A40 (Ampere)", "48 GB", "bfloat16"),
    "h100": Device("GPU", "NVIDIA H100 (Hopper)", "80 GB or more", "bfloat16"),
    "rtx2080": Device(
        "GPU", "NVIDIA GeForce RTX 2080 or 2080 Ti (Turing)", "8 or 11 GB", "float16"
    ),
    "rtx3080": Device(
        "GPU", "NVIDIA GeForce RTX 3080 or 3080 Ti (Ampere)", "10 or 12 GB", "float16"
    ),
    "a6000": Device("GPU", "NVIDIA RTX A6000 (Ampere)", "48 GB", "bfloat16"),
    "v100": Device("GPU", "NVIDIA Tesla V100 (Volta)", "16 or 32 GB", "float16"),
    "P100": Device("GPU", "NVIDIA Tesla P100 (Pascal)", "12 or 16 GB", "float16"),
    "cpu_xeon_silver": Device("CPU", "Intel Xeon Silver", precision="float32"),
    "cpu_xeon_gold": Device("CPU", "Intel Xeon Gold", precision="float32"),
    "cpu_amd_7502": Device("CPU", "AMD EPYC 7502 (Rome)", "32 cores", "float32"),
    "cpu_amd_7513": Device("CPU", "AMD EPYC 7513 (Milan)", "32 cores", "float32"),
    "cpu_amd_7452": Device("CPU", "AMD EPYC 7452 (Rome)", "32 cores", "float32"),
}


def device(name: str) -> Device:
    """Return the description of a device; a blank `Device` where nothing is known.

    Examples
    --------
    >>> device("h100").model
    'NVIDIA H100 (Hopper)'
    """
    return DEVICES.get(name, Device())
