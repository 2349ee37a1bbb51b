"""Llama-family architectures and their strings."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import InvalidInput
from hwnas.spaces.architecture import split_string
from hwnas.spaces.precision import split_precision


@dataclass(frozen=True, slots=True)
class LlamaArchitecture:
    """Architecture of a Llama-family model.

    Its string is ``SPACE-n_layer-embed_dim``, then one number for each layer of each of `mlp_dim`,
    `n_head` and `n_kv_head`, and `tied`; where the space offers it, `precision`. `parse` reads it,
    ``str`` writes it.

    Attributes
    ----------
    space
        Name of the space it belongs to: ``"llama-s"``.
    embed_dim
        Width of the residual stream.
    n_layer
        Number of layers.
    mlp_dim
        Hidden width of the MLP of each layer; 0 where there is none.
    n_head
        Number of heads of queries of each layer; 0 where there is no attention. The inner width of
        attention is ``head_size * n_head``, with the `head_size` of the space.
    n_kv_head
        Number of heads of keys and values of each layer, a divisor of `n_head`: as many queries
        share one. 0 where there is no attention.
    tied
        Whether the output layer uses the matrix of the token embeddings.
    precision
        Format of the weights where the space offers a choice, else ``None``.

    Examples
    --------
    >>> arch = LlamaArchitecture("llama-s", 256, 2, (512, 1024), (4, 8), (4, 2), tied=True)
    >>> str(arch)
    'llama-s-2-256-512-1024-4-8-4-2-True'
    >>> LlamaArchitecture.parse(str(arch)) == arch
    True
    """

    space: str
    embed_dim: int
    n_layer: int
    mlp_dim: tuple[int, ...]
    n_head: tuple[int, ...]
    n_kv_head: tuple[int, ...]
    tied: bool
    precision: str | None = None

    def __str__(self) -> str:
        """Return the string: space, layers, width, MLPs, heads, heads of keys and values, tied."""
        numbers = (self.n_layer, self.embed_dim, *self.mlp_dim, *self.n_head, *self.n_kv_head)
        suffix = [] if self.precision is None else [self.precision]
        return "-".join([self.space, *map(str, numbers), str(self.tied), *suffix])

    @classmethod
    def parse(cls, text: str) -> LlamaArchitecture:
        """Parse the string of an architecture; ``str`` is the inverse.

        Raises
        ------
        InvalidInput
            The text is not of the form ``SPACE-LAYERS-WIDTH-MLPS-HEADS-KV_HEADS-TIED``.

        Examples
        --------
        >>> LlamaArchitecture.parse("llama-s-2-256-512-1024-4-8-4-2-True").n_kv_head
        (4, 2)
        """
        form = "expected SPACE-LAYERS-WIDTH-<mlp_dim, n_head, n_kv_head of each layer>-True|False"
        space, (n_layer, embed_dim, *numbers), tied = split_string(text, form)
        precision = split_precision(text)[1]
        # The number of layers says how many numbers follow the width.
        if n_layer == 0 or len(numbers) != 3 * n_layer:
            raise InvalidInput(
                f"architecture {text!r}: {n_layer} layers want {3 * n_layer} numbers after the "
                f"width, found {len(numbers)}; {form}"
            )
        mlp_dim, n_head, n_kv_head = (
            tuple(numbers[i * n_layer : (i + 1) * n_layer]) for i in range(3)
        )
        return cls(space, embed_dim, n_layer, mlp_dim, n_head, n_kv_head, tied, precision)
