"""Parts of a model that are compiled on their own: each block, and the output layer with the loss.

The code of a part depends on its shapes alone, such as width, MLP ratio and number of heads of a
block. Its parameters are arguments, so all networks of a space can share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.profiling.language_model import LanguageModel, cross_entropy, import_model_class
from hwnas.profiling.training.config import TrainingSettings, autocast


@dataclass(frozen=True)
class Part:
    """Description of a part from which any process can build its inputs and compile it.

    Attributes
    ----------
    model
        Class of the model, as ``MODULE:CLASS``.
    arch, settings
        Architecture, as a string, and keyword arguments of the model.
    layer
        Number of the block; None is the output layer with the loss.
    batch
        Sequences of one forward pass, each as long as the context.
    device, precision
        Device, and precision of the training.
    threads
        Threads of torch, on which code for a CPU depends.
    shape
        Everything that determines the code, beside the batch, the device and the precision.
    strides
        Those of the parameters that are not contiguous, by name in the block.
    """

    model: str
    arch: str
    settings: dict[str, Any]
    layer: int | None
    batch: int
    device: str
    precision: str
    threads: int
    shape: str
    strides: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Hash that is equal for parts with the same code, on this version of torch and device."""
        device = torch.device(self.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else self.threads
        fields = (self.shape, self.batch, device.type, name, self.precision, torch.__version__)
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """Return one line from which `from_json` restores the part."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Part:
        """Restore a part from the text of `to_json`."""
        return cls(**json.loads(text))


def parts_of(model: LanguageModel, settings: TrainingSettings, device: torch.device) -> list[Part]:
    """Return the parts of a model in a training: its blocks in order, then the output layer.

    Parameters
    ----------
    model
        Model on any device, ``"meta"`` included.
    settings
        Settings of the training.
    device
        Device of the training.

    Examples
    --------
    >>> from hwnas.profiling import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-3-32-2-4-2-1-1-1-True")
    >>> model = GPT(arch, head_size=16, context=8, vocab_size=257, device="meta")
    >>> parts = parts_of(model, TrainingSettings(steps=3), torch.device("cpu"))
    >>> [part.layer for part in parts], len({part.key for part in parts})
    ([0, 1, 2, None], 3)
    """
    cls = type(model)
    common: dict[str, Any] = {
        "model": f"{cls.__module__}:{cls.__qualname__}",
        "arch": str(model.arch),
        "settings": {name: getattr(model, name) for name in model.settings},
        "batch": settings.batch_size // settings.accumulate,
        "device": str(device),
        "precision": settings.precision,
        "threads": torch.get_num_threads(),
    }
    output = f"output {tuple(model.output_weight.shape)} {model.context}"
    blocks = []
    for i, block in enumerate(model.blocks):
        shape, strides = _block_shape(block, model), _strides(block)
        shape += f" {strides}" if strides else ""
        blocks.append(Part(**common, layer=i, shape=shape, strides=strides))
    return [*blocks, Part(**common, layer=None, shape=output)]


def has_parts(model: LanguageModel) -> bool:
    """Return whether a model of any family has the blocks and tables that parts are made of."""
    return all(hasattr(model, name) for name in ("blocks", "cos", "sin"))


def _block_shape(block: nn.Module, model: LanguageModel) -> str:
    """Return the class, the shapes of the parameters and the numbers of a block, as a string."""
    numbers = {
        f"{name}.{key}": value
        for name, module in block.named_modules()
        for key, value in vars(module).items()
        if type(value) in (int, float) and not key.startswith("_")
    }
    shapes = {name: tuple(parameter.shape) for name, parameter in block.named_parameters()}
    kind = f"{type(block).__module__}.{type(block).__qualname__}"
    return f"{kind} {shapes} {numbers} {model.context} {tuple(model.cos.shape)}"


def _strides(block: nn.Module) -> dict[str, list[int]]:
    """Return the strides of the parameters of a block that are not contiguous."""
    return {
        name: list(parameter.stride())
        for name, parameter in block.named_parameters()
        if not parameter.is_contiguous()
    }


def function_of(part: Part) -> Callable[..., Tensor]:
    """Return a new function that computes a part, with a code object of its own.

    torch keeps compiled code with the code object of a function and tries all of it at each call.
    Functions of one code object would be compiled a few times only, and then run uncompiled.
    """
    function = _run_output if part.layer is None else _run_block
    name = f"{function.__name__}_{part.key[:8]}"
    return FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)


def _run_block(block: nn.Module, *arguments: Any) -> Tensor:
    """Return the residual stream after a block; the class's own forward, see `SharedLoss`."""
    out: Tensor = type(block).forward(block, *arguments)
    return out


def _run_output(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of the input of the output layer."""
    return cross_entropy(x, weight, targets)


def compile_part(part: Part) -> None:
    """Compile a part and leave its code in torch's cache on disk; nothing is executed.

    The inputs have the shapes, types and strides of those in a training. They are all the memory
    that this needs, since compilation ends before any kernel runs.
    """
    torch.set_num_threads(part.threads)
    device = torch.device(part.device)
    with compilation(), autocast(device, part.precision):  # type: ignore[arg-type]
        arguments = _inputs(part, device)
        try:
            torch.compile(function_of(part), dynamic=False, backend=_compile_only)(*arguments)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            if not isinstance(error.inner_exception, _Compiled):
                raise


def _inputs(part: Part, device: torch.device) -> tuple[Any, ...]:
    """Return the arguments of `function_of` for a part."""
    cls = import_model_class(part.model)
    model = cls(cls.arch_type.parse(part.arch), device="meta", **part.settings)
    rows = (part.batch, model.context)
    if part.layer is None:
        # A model without blocks computes the type of the features, which depends on its norm.
        model.blocks = nn.ModuleList()
        model.to_empty(device=device)
        targets = torch.zeros(rows, dtype=torch.long, device=device)
        return model.features(targets), model.output_weight, targets
    is_half = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if is_half else torch.float32
    x = torch.zeros(*rows, model.output_weight.shape[1], dtype=dtype, device=device)
    x = x.requires_grad_().clone()  # no leaf, as in a training
    block = model.blocks[part.layer].to_empty(device=device)
    for name, stride in part.strides.items():
        owner, _, leaf = name.rpartition(".")
        shape = block.get_parameter(name).shape
        parameter = nn.Parameter(torch.empty_strided(shape, stride, device=device))
        setattr(block.get_submodule(owner), leaf, parameter)
    cos, sin = (torch.empty_like(table, device=device) for table in (model.cos, model.sin))
    return block, x, cos, sin, None


class _Compiled(Exception):
    """Signal that the code of a part is complete, in place of running it."""


def _compile_only(graph: Any, inputs: list[Tensor]) -> Any:
    """Compile a graph as ``torch.compile`` does, and do not run it."""
    from torch._inductor.compile_fx import compile_fx

    compile_fx(graph, inputs)
    raise _Compiled


@contextmanager
def compilation() -> Iterator[None]:
    """Set what torch's compiler needs for shared code, within a block.

    Code that is made here is found again in the cache only if both times are in such a block.
    """
    import torch._dynamo.config as dynamo
    import torch._functorch.config as functorch

    with ExitStack() as stack:
        # The backward pass is compiled with the forward pass, so that both are cached at once.
        stack.enter_context(functorch.patch(force_non_lazy_backward_lowering=True))
        # A function that would be compiled too often is an error, not slow without a word.
        stack.enter_context(dynamo.patch(fail_on_recompile_limit_hit=True))
        yield
