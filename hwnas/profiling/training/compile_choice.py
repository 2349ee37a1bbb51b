"""Choice between uncompiled, shared and whole-network code for one training.

Compiling a whole network gives the fastest code, by some per cent, but takes as long as a short
training and serves one network. Code of parts is shared between networks, see
`hwnas.profiling.training.shared_code`.
"""

from __future__ import annotations

from typing import Literal

import torch

Compile = Literal["auto", "off", "blocks", "whole"]
Code = Literal["off", "blocks", "whole"]

# Constants from trainings of gpt-s on one H100 with bfloat16 and batches of 8 to 32 x 1,024 tokens.
EAGER_FLOPS = 1.5e14  # operations per second without compiled code: 9 to 24 % of the peak
EAGER_SHARE = 0.15  # the same as a share of a device's peak
WHOLE_SECONDS = 40.0  # to compile a whole network, which is done anew for each network
# Speed relative to uncompiled training, at an embed_dim of 768: 204,000 tokens a second become
# 513,000 and 533,000 (benchmarks/shared_compilation.json). Narrower networks gain more.
BLOCKS_SPEEDUP, WHOLE_SPEEDUP = 2.5, 2.6
# A shorter training ends before the code of its parts is loaded.
SHORTEST_SECONDS = 1.0


def choose_code(
    compile: Compile,
    device: torch.device,
    flops: float,
    *,
    can_share: bool,
    peak_flops: float | None = None,
) -> Code:
    """Return the kind of code for a training.

    With ``"auto"`` a CPU runs uncompiled code. On other devices the rule compares seconds: with E
    the estimated duration of the uncompiled training,

    - ``"off"`` if E is below `SHORTEST_SECONDS`;
    - ``"whole"`` if ``E / WHOLE_SPEEDUP + WHOLE_SECONDS`` is below ``E / BLOCKS_SPEEDUP``, which
      is so from about 2,600 s on, or below E where code cannot be shared, from about 65 s on;
    - ``"blocks"`` between these, and ``"off"`` where code cannot be shared.

    Parameters
    ----------
    compile
        Setting of the training; all but ``"auto"`` are returned as they are.
    flops
        Operations of all steps.
    can_share
        Whether other networks can use the code of parts.
    peak_flops
        Peak throughput of the device in operations per second, if it is known.

    Examples
    --------
    >>> cuda = torch.device("cuda")
    >>> [choose_code("auto", cuda, flops, can_share=True) for flops in (1e13, 1e15, 1e18)]
    ['off', 'blocks', 'whole']
    >>> choose_code("auto", torch.device("cpu"), 1e18, can_share=True)
    'off'
    """
    if compile != "auto":
        return compile
    if device.type == "cpu":
        return "off"
    eager = flops / (EAGER_FLOPS if peak_flops is None else EAGER_SHARE * peak_flops)
    if eager < SHORTEST_SECONDS:
        return "off"
    cheaper: Code = "blocks" if can_share else "off"
    if eager / WHOLE_SPEEDUP + WHOLE_SECONDS < eager / (BLOCKS_SPEEDUP if can_share else 1.0):
        return "whole"
    return cheaper
