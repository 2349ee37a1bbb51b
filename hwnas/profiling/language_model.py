"""Language models of all families: what meters, training and export need of them.

A family is a class of spaces that names a subclass of `LanguageModel` as its ``module``, see
`hwnas.spaces.LanguageModelSpace`. `build_model` builds the models of any of them.

Shapes: B sequences of T tokens, C the width of the residual stream.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import InvalidInput
from hwnas.profiling.attention import Attend
from hwnas.spaces import LanguageModelSpace

LOGIT_ALIGNMENT = 64  # tensor cores are fastest on rows of a multiple of 64 logits


class LanguageModel(nn.Module, ABC):
    """Base class of the models of all families.

    A subclass takes an architecture, the keyword arguments `settings`, ``seed`` and ``device``, as
    `hwnas.profiling.gpt.GPT` does. It sets the attributes below before anything else is called.

    Attributes
    ----------
    family : str
        Name of the family of spaces.
    arch_type : type
        Class of its architectures, with a class method ``parse`` that is the inverse of ``str``.
    settings : tuple of str
        Names of the keyword arguments that a model takes from its space. Both have attributes of
        these names.
    optional_settings : tuple of str
        Names of further ones that spaces and files of models may lack.
    arch
        Architecture of the model.
    head_size, context, vocab_size : int
        Size of a head, maximum length of a sequence, and number of tokens.
    embedding
        Token embeddings.
    blocks
        The layers.
    cos, sin
        (context, p), tables of the rotary positions.
    """

    family: ClassVar[str]
    arch_type: ClassVar[Any]
    settings: tuple[str, ...] = ("head_size", "context", "vocab_size")
    optional_settings: ClassVar[tuple[str, ...]] = ()
    arch: Any
    head_size: int
    context: int
    vocab_size: int
    embedding: nn.Embedding
    blocks: nn.ModuleList
    cos: Tensor
    sin: Tensor

    @abstractmethod
    def features(self, tokens: Tensor, attends: Sequence[Attend | None] | None = None) -> Tensor:
        """Return the input of the output layer; (B, T) integers to (B, T, C).

        Parameters
        ----------
        attends
            During generation, the attention of each layer, which reads and writes a cache; None
            for a layer without attention.
        """

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """Matrix of the output layer, (vocab_size, C)."""

    @abstractmethod
    def flops(self, tokens: int | None = None) -> int:
        """Return the operations of all matrix products of one pass over `tokens` [the context]."""

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """Number of heads of keys and values of each layer, for the cache of generation."""
        raise InvalidInput(
            f"{self.family}: its models have no kv_heads, so they generate no text; see "
            "hwnas.profiling.LanguageModel"
        )

    @property
    def row_parts(self) -> dict[str, tuple[int, ...]]:
        """Numbers of rows of the parts that some parameters consist of, by parameter.

        A smaller model of the family has the first rows of each part, and of every other axis its
        first entries. A parameter without an entry is one part.
        """
        return {}

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the weights."""
        return self.embedding.weight.dtype

    @property
    def params(self) -> int:
        """Number of parameters, equal to ``params`` of the space; a tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the residual stream before the first layer; (B, T) integers to (B, T, C).

        Raises
        ------
        InvalidInput
            T is larger than `context`.
        """
        T = tokens.shape[1]
        if self.context < T:
            raise InvalidInput(f"expected at most {self.context} tokens, found {T}")
        x: Tensor = self.embedding(tokens)  # (B, T, C)
        # Under autocast an embedding stays in float32, and with it the whole residual stream.
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token at each position.

        Parameters
        ----------
        tokens
            (B, T) integers, T at most `context`.

        Returns
        -------
        (B, T, vocab_size)
        """
        return F.linear(self.features(tokens), self.output_weight)  # (B, T, vocab_size)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats; `tokens` and `targets` are (B, T) integers."""
        return cross_entropy(self.features(tokens), self.output_weight, targets)

    def training_flops_per_token(self, tokens: int | None = None) -> int:
        """Return the operations per token of training: one forward and two of its size backward.

        The result is ``6 * weights + 12 * inner * tokens``, the count behind model-FLOPs
        utilization (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). Recomputation does not
        count.
        """
        length = self.context if tokens is None else tokens
        return 3 * self.flops(length) // length


def cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of an output layer in nats.

    Parameters
    ----------
    x
        (B, T, C), input of the output layer.
    weight
        (vocab_size, C), its matrix.
    targets
        (B, T) integers.

    Examples
    --------
    >>> x, weight, targets = torch.zeros(2, 3, 8), torch.ones(50, 8), torch.zeros(2, 3).long()
    >>> round(cross_entropy(x, weight, targets).exp().item(), 3)
    50.0
    """
    vocab_size = len(weight)
    n_padding = -vocab_size % LOGIT_ALIGNMENT
    if x.is_cuda and n_padding:
        # Pad the vocabulary; a bias of -inf gives the added tokens probability 0.
        weight = F.pad(weight, (0, 0, 0, n_padding))  # (padded vocab_size, C)
        bias = F.pad(weight.new_zeros(vocab_size), (0, n_padding), value=-math.inf)
        logits = F.linear(x, weight, bias)  # (B, T, padded vocab_size)
    else:
        logits = F.linear(x, weight)  # (B, T, vocab_size)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def build_model(
    space: LanguageModelSpace, arch: Any, *, seed: int = 0, device: str | torch.device = "cpu"
) -> LanguageModel:
    """Build the model of an architecture with head size, context and vocabulary of its space.

    Parameters
    ----------
    space
        Space of any family.
    arch
        One of its architectures.
    seed
        Seed of the initial weights.
    device
        Device of the weights. ``"meta"`` builds shapes without numbers, for counting.

    Raises
    ------
    InvalidInput
        The architecture is not in the space.

    Examples
    --------
    >>> import hwnas
    >>> space = hwnas.space("llama-s")
    >>> arch = space.decode(space.canonical([[0] * len(space.columns)]))[0]
    >>> build_model(space, arch, device="meta").params
    18352384
    """
    # Encoding raises the error for an architecture that is not in the space.
    space.encode([arch])
    cls = import_model_class(space.module)
    settings = {name: getattr(space, name) for name in cls.settings}
    settings |= {
        name: getattr(space, name) for name in cls.optional_settings if hasattr(space, name)
    }
    model: LanguageModel = cls(arch, **settings, seed=seed, device=device)
    return model


def import_model_class(path: str) -> Any:
    """Import a class of models that is given as ``MODULE:CLASS``.

    >>> import_model_class("hwnas.profiling.gpt:GPT").family
    'gpt'
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def draw_weights(model: LanguageModel, seed: int) -> None:
    """Draw new initial weights of a model, see `draw_parameters`."""
    draw_parameters(dict(model.named_parameters()), seed)


@torch.no_grad()
def draw_parameters(parameters: Mapping[str, Tensor], seed: int) -> None:
    """Draw new initial weights, by name, distributed as in GPT-2.

    Weights are normal with standard deviation 0.02, divided by the square root of the number of
    layers' outputs that are added to the residual stream (Radford et al. 2019, section 2.3): those
    of the linear layers called ``proj``. Biases are 0. Norms leave their input as it is.
    """
    # A generator of its own leaves torch's global random stream as it is.
    generator = torch.Generator(next(iter(parameters.values())).device).manual_seed(seed)
    n_outputs = sum(name.endswith("proj.weight") for name in parameters)
    for name, parameter in parameters.items():
        if "norm" in name:
            parameter.fill_(float(name.endswith("weight")))
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            is_residual = name.endswith("proj.weight")
            std = 0.02 / math.sqrt(n_outputs) if is_residual else 0.02
            parameter.normal_(0, std, generator=generator)


def check_sizes(
    single: Mapping[str, int], per_layer: Mapping[str, Sequence[int]], n_layer: int
) -> None:
    """Check the sizes of a model.

    Parameters
    ----------
    single
        Sizes of the whole model by name: positive integers.
    per_layer
        Sizes by name, one for each layer, of the MLP first and of attention next: positive
        integers, or 0 where the layer has none; never both.

    Raises
    ------
    InvalidInput
        A size is out of range, or a layer has neither.
    """
    for name, values in per_layer.items():
        if len(values) != n_layer:
            raise InvalidInput(
                f"{name}: expected one value per layer, {n_layer}, found {len(values)}"
            )
    for name, value in single.items():
        if type(value) is not int or value < 1:
            raise InvalidInput(f"{name}: expected a positive integer, found {value!r}")
    for name, values in per_layer.items():
        for value in values:
            if type(value) is not int or value < 0:
                raise InvalidInput(f"{name}: expected 0 or a positive integer, found {value!r}")
    mlp, attention, *_ = per_layer
    for i, sizes in enumerate(zip(per_layer[mlp], per_layer[attention], strict=True)):
        if not any(sizes):
            raise InvalidInput(
                f"layer {i}: expected {mlp} or {attention} above 0, found 0 for both; leave out "
                "the layer"
            )
