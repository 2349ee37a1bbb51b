"""Smaller versions of one Llama-family model: per layer fewer heads, a narrower MLP, or neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hwnas.errors import InvalidInput
from hwnas.spaces.choices import (
    find_indices,
    to_int64,
    validate_integers,
    validate_model_name,
    validate_positive,
)
from hwnas.spaces.gpt import HEAD_SIZE
from hwnas.spaces.language_model import (
    LanguageModelSpace,
    architectures_of,
    check_countable,
)
from hwnas.spaces.llama import LLAMA_CONTEXT, LLAMA_VOCABULARY, LlamaSpace
from hwnas.spaces.llama_architecture import LlamaArchitecture
from hwnas.typing import Codes, IntArray

ROTARY_BASE, NORM_EPS = 10_000.0, 1e-5  # of Llama 2


class ShrunkLlamaSpace(LlamaSpace):
    """Set of the smaller versions of one Llama-family model.

    Width, number of layers and output layer are those of the model. The columns of a code are those
    three, each with a single choice, and ``mlp_dim`` and ``n_head`` of each layer in turn. A layer
    with 0 of both is left out: it adds nothing to the residual stream.

    Parameters
    ----------
    name
        Name of the space; architectures carry it.
    embed_dim, n_layer, tied
        Sizes of the model: width, number of layers, and whether the output layer uses the matrix
        of the embeddings.
    mlp_dim
        Choices of the hidden width of an MLP, in increasing order; 0 leaves it out.
    n_head
        Choices of the number of heads of queries, in increasing order, each a multiple of `group`;
        0 leaves attention out.
    group
        Heads of queries that share one of keys and values; they are kept or left out together.
    head_size, context, vocab_size, rotary_base, rotary_factors, norm_eps
        See `hwnas.profiling.llama.Llama`.

    Raises
    ------
    InvalidInput
        The choices are empty, not increasing or no integers, or a number of heads is no multiple of
        `group`.

    Examples
    --------
    >>> space = ShrunkLlamaSpace("mine", embed_dim=64, n_layer=2, tied=True, mlp_dim=[0, 64, 128],
    ...                          n_head=[0, 2, 4], group=2)
    >>> space.size
    81
    >>> str(space.decode(space.canonical([[0, 0, 0, 2, 2, 0, 1]]))[0])
    'mine-2-64-128-0-4-2-2-1-True'
    """

    family = "shrunk"
    module = "hwnas.shrinking.sliced_model:ShrunkLlama"
    named: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(
        self,
        name: str,
        *,
        embed_dim: int,
        n_layer: int,
        mlp_dim: Sequence[int],
        n_head: Sequence[int],
        group: int = 1,
        tied: bool = False,
        head_size: int = HEAD_SIZE,
        context: int = LLAMA_CONTEXT,
        vocab_size: int = LLAMA_VOCABULARY,
        rotary_base: float = ROTARY_BASE,
        rotary_factors: Sequence[float] = (),
        norm_eps: float = NORM_EPS,
    ) -> None:
        validate_model_name(name)
        self.embed_dim = (validate_positive("embed_dim", embed_dim),)
        self.n_layer = validate_integers("n_layer", [n_layer])
        self.mlp_dim = validate_integers("mlp_dim", mlp_dim, minimum=0)
        self.n_head = validate_integers("n_head", n_head, minimum=0)
        self.group = validate_positive("group", group)
        self.tied = (bool(tied),)
        self.precision = ()
        self.head_size = validate_positive("head_size", head_size)
        self.context = validate_positive("context", context)
        self.vocab_size = validate_positive("vocab_size", vocab_size)
        self.rotary_base, self.norm_eps = float(rotary_base), float(norm_eps)
        self.rotary_factors = [float(factor) for factor in rotary_factors]
        for heads in self.n_head:
            if heads % group:
                raise InvalidInput(f"n_head: expected multiples of group {group}, found {heads}")
        if head_size % 2:
            raise InvalidInput(f"head_size: expected an even number, found {head_size}")
        self.n_kv_head = tuple(heads // group for heads in self.n_head if heads) or (1,)
        check_countable(
            width=embed_dim,
            depth=n_layer,
            inner=self.n_head[-1] * head_size,
            hidden=self.mlp_dim[-1],
            vocab_size=vocab_size,
            context=context,
        )
        LanguageModelSpace.__init__(
            self,
            name,
            {"embed_dim": self.embed_dim, "n_layer": self.n_layer, "tied": self.tied},
            layers={"mlp_dim": self.mlp_dim, "n_head": self.n_head},
            depth="n_layer",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return family, name and sizes: `hwnas.space` makes the same space of them."""
        scalars = ("group", "head_size", "context", "vocab_size", "rotary_base", "norm_eps")
        return {
            "family": self.family,
            "name": self.name,
            "embed_dim": self.embed_dim[0],
            "n_layer": self.n_layer[0],
            "mlp_dim": list(self.mlp_dim),
            "n_head": list(self.n_head),
            "tied": self.tied[0],
            **{key: getattr(self, key) for key in scalars},
            **({"rotary_factors": self.rotary_factors} if self.rotary_factors else {}),
        }

    def encode(self, architectures: Iterable[LlamaArchitecture | Mapping[str, Any] | str]) -> Codes:
        """Return the canonical codes of architectures, the inverse of `decode`.

        Architectures have an entry for each layer of the model, 0 for what is left out.

        Returns
        -------
        (n, d) int8

        Raises
        ------
        InvalidInput
            A choice that this space does not offer, or another kind of architecture.
        """
        archs = architectures_of(self.name, LlamaArchitecture, architectures)
        codes = np.zeros((len(archs), len(self.columns)), dtype=np.int8)
        for name in ("embed_dim", "n_layer", "tied"):
            values = to_int64(name, (getattr(arch, name) for arch in archs))
            find_indices(name, [int(choice) for choice in self.choices[name]], values)
        layers = {key: self._layer_matrix(archs, key) for key in ("mlp_dim", "n_head", "n_kv_head")}
        if (layers["n_head"] != self.group * layers["n_kv_head"]).any():
            raise InvalidInput(
                f"n_kv_head: expected one head of keys and values for each {self.group} of queries"
            )
        for offset, name in enumerate(self.layers):
            indices = find_indices(name, getattr(self, name), layers[name].ravel())
            codes[:, self.layer_columns[:, offset]] = indices.reshape(layers[name].shape)
        return codes

    def depth_of(self, codes: Codes) -> IntArray:
        """Return the number of layers (n,) of valid codes (n, d) that are not left out."""
        hidden, heads = (self._layer_values(codes, name) for name in self.layers)
        return np.asarray(((hidden > 0) | (heads > 0)).sum(axis=1))

    def _layer_values(self, array: IntArray | Codes, name: str) -> IntArray:
        """Return the values (n, L) of a size of the layers."""
        if name == "n_kv_head":
            return self._layer_values(array, "n_head") // self.group
        columns = self.layer_columns[:, list(self.layers).index(name)]
        values = np.array(getattr(self, name), dtype=np.int64)
        return np.asarray(values[array[:, columns].astype(np.intp)])
