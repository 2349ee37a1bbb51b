"""Weights of a model in the precision of a workload.

Weight-only quantization: the linear layers of the blocks hold numbers of one byte and one scale for
each output, symmetric and without calibration (absolute maximum; Dettmers et al. 2022,
arXiv:2208.07339, section 2.1). Products are computed in bfloat16. The embedding, the output layer
and the norms stay bfloat16.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.cuda_graph import has_triton
from hwnas.profiling.language_model import LanguageModel

InferencePrecision = Literal["float32", "float16", "bfloat16", "int8", "fp8"]

_Model = TypeVar("_Model", bound=LanguageModel)

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "fp8": torch.float8_e4m3fn,
}
_FEW_ROWS = 128  # tokens up to which reading the weights costs more than multiplying by them
_ONE_BYTE_MAXIMUM = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}


class QuantizedLinear(nn.Module):
    """Linear layer whose weights have one byte each.

    Parameters
    ----------
    linear
        Layer to quantize.
    dtype
        ``torch.int8`` or ``torch.float8_e4m3fn``.

    Attributes
    ----------
    weight
        (outputs, inputs), of one byte each.
    scale
        (outputs,) float32: factor of each row.
    bias
        (outputs,) or None.

    Examples
    --------
    >>> linear = nn.Linear(64, 8, dtype=torch.bfloat16)
    >>> layer, x = QuantizedLinear(linear, torch.int8), torch.ones(1, 64, dtype=torch.bfloat16)
    >>> (layer(x) - linear(x)).abs().max().item() < 0.05
    True
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        maximum = _ONE_BYTE_MAXIMUM[dtype]
        # A row of zeros has any scale.
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / maximum
        scaled = weight / scale[:, None]
        rounded = scaled.round() if dtype == torch.int8 else scaled
        self.register_buffer("weight", rounded.to(dtype))
        self.register_buffer("scale", scale)
        bias = None if linear.bias is None else linear.bias.detach()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs; (..., inputs) to (..., outputs)."""
        rows = x.reshape(-1, x.shape[-1])
        if x.is_cuda and len(rows) <= _FEW_ROWS and has_triton():
            from hwnas.profiling.generation.linear_kernels import few_rows_linear

            y = few_rows_linear(rows, self.weight, self.scale, self.bias)
            return y.view(*x.shape[:-1], -1)
        # For many tokens it is cheaper to scale the weights than the outputs.
        weight = self.weight.to(x.dtype) * self.scale.to(x.dtype)[:, None]
        return F.linear(x, weight, self.bias)


@torch.no_grad()
def cast_for_inference(model: _Model, precision: str) -> _Model:
    """Cast the weights of a model in place, and return it.

    The tables of rotary positions stay float32.

    Parameters
    ----------
    precision
        ``"float32"``, ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"fp8"`` (E4M3).

    Raises
    ------
    InvalidInput
        There is no such precision, or the weights are quantized already.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-1-32-2-1-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> cast_for_inference(model, "int8").dtype
    torch.bfloat16
    """
    if precision not in _DTYPES:
        raise InvalidInput(f"precision: expected one of {', '.join(_DTYPES)}, found {precision!r}")
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise InvalidInput(f"{model.arch}: its weights are quantized already")
    dtype = _DTYPES[precision]
    is_quantized = dtype in _ONE_BYTE_MAXIMUM
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16 if is_quantized else dtype)
        parameter.requires_grad_(False)
    if is_quantized:
        for part in [m for block in model.blocks for m in block.modules()]:
            for name, child in list(part.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(part, name, QuantizedLinear(child, dtype))
    return model
