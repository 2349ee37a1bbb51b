"""Hardware behind the device names of HW-GPT-Bench.

HW-GPT-Bench (Sukthanker et al. 2024, arXiv:2405.10299) names its devices without describing them,
so a description holds only what the name settles. Where a model was sold with several memory sizes
all of them are listed; ``rtx2080`` may be the Ti or not; of the two Xeons only the family is known.
Core counts are those of the whole CPU: public job scripts of HW-GPT-Bench request eight cores.
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
    """

    kind: Literal["GPU", "CPU", ""] = ""
    model: str = ""
    size: str = ""


# Names and order as in HW-GPT-Bench.
DEVICES: dict[str, Device] = {
    "a100": Device("GPU", "NVIDIA A100 (Ampere)", "40 or 80 GB"),
    "a40": Device("GPU", "NVIDIA A40 (Ampere)", "48 GB"),
    "h100": Device("GPU", "NVIDIA H100 (Hopper)", "80 GB or more"),
    "rtx2080": Device("GPU", "NVIDIA GeForce RTX 2080 or 2080 Ti (Turing)", "8 or 11 GB"),
    "rtx3080": Device("GPU", "NVIDIA GeForce RTX 3080 or 3080 Ti (Ampere)", "10 or 12 GB"),
    "a6000": Device("GPU", "NVIDIA RTX A6000 (Ampere)", "48 GB"),
    "v100": Device("GPU", "NVIDIA Tesla V100 (Volta)", "16 or 32 GB"),
    "P100": Device("GPU", "NVIDIA Tesla P100 (Pascal)", "12 or 16 GB"),
    "cpu_xeon_silver": Device("CPU", "Intel Xeon Silver"),
    "cpu_xeon_gold": Device("CPU", "Intel Xeon Gold"),
    "cpu_amd_7502": Device("CPU", "AMD EPYC 7502 (Rome)", "32 cores"),
    "cpu_amd_7513": Device("CPU", "AMD EPYC 7513 (Milan)", "32 cores"),
    "cpu_amd_7452": Device("CPU", "AMD EPYC 7452 (Rome)", "32 cores"),
}


def device(name: str) -> Device:
    """Return the description of a device; a blank `Device` where nothing is known.

    Examples
    --------
    >>> device("h100").model
    'NVIDIA H100 (Hopper)'
    """
    return DEVICES.get(name, Device())
