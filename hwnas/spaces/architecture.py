"""Architectures and their strings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwnas.errors import InvalidInput
from hwnas.spaces.precision import split_precision


@dataclass(frozen=True, slots=True)
class Architecture:
    """Architecture: one member of a search space.

    Its string is that of HW-GPT-Bench: ``SPACE-n_layer-embed_dim``, then one ``mlp_ratio`` for each
    layer, one ``n_head`` for each layer, and ``bias``; where the space offers it, ``precision``.
    `parse` reads it, ``str`` writes it.

    Attributes
    ----------
    space
        Name of the space it belongs to: ``"gpt-s"``.
    embed_dim
        Width of the residual stream.
    n_layer
        Number of transformer blocks.
    mlp_ratio, n_head
        For each block, hidden width of the MLP over `embed_dim`, and number of attention heads. A
        head has the space's `head_size`, 64 in all named spaces, however many there are: the inner
        width of attention is ``head_size * n_head`` and not `embed_dim`.
    bias
        Whether the linear layers of the blocks have biases.
    precision
        Format of the weights where the space offers a choice, else ``None``.

    Examples
    --------
    >>> arch = Architecture("gpt-s", 192, 2, mlp_ratio=(4, 3), n_head=(8, 12), bias=True)
    >>> str(arch)
    'gpt-s-2-192-4-3-8-12-True'
    >>> Architecture.parse(str(arch)) == arch
    True
    """

    space: str
    embed_dim: int
    n_layer: int
    mlp_ratio: tuple[int, ...]
    n_head: tuple[int, ...]
    bias: bool
    precision: str | None = None

    def __str__(self) -> str:
        """Return HW-GPT-Bench's string: space, layers, width, ratios, heads, bias."""
        numbers = (self.n_layer, self.embed_dim, *self.mlp_ratio, *self.n_head)
        suffix = [] if self.precision is None else [self.precision]
        return "-".join([self.space, *map(str, numbers), str(self.bias), *suffix])

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Parse HW-GPT-Bench's string of an architecture; ``str`` is the inverse.

        Raises
        ------
        InvalidInput
            The text is not of the form ``SPACE-LAYERS-WIDTH-RATIOS-HEADS-BIAS``.

        Examples
        --------
        >>> Architecture.parse("gpt-s-2-192-4-4-8-12-True").n_head
        (8, 12)
        """
        form = "expected SPACE-LAYERS-WIDTH-<one ratio a layer>-<one head count a layer>-True|False"
        space, (n_layer, embed_dim, *per_layer), bias = split_string(text, form)
        precision = split_precision(text)[1]
        # The number of layers says how many numbers follow the width.
        if n_layer == 0 or len(per_layer) != 2 * n_layer:
            raise InvalidInput(
                f"architecture {text!r}: {n_layer} layers want {2 * n_layer} ratios and head "
                f"counts, found {len(per_layer)}; {form}"
            )
        ratios, heads = tuple(per_layer[:n_layer]), tuple(per_layer[n_layer:])
        return cls(space, embed_dim, n_layer, ratios, heads, bias, precision)


def split_string(text: str, form: str) -> tuple[str, list[int], bool]:
    """Split the string of a language model into its space, its numbers and its flag.

    Parameters
    ----------
    text
        ``SPACE-NUMBER-NUMBER-...-True|False`` with at least two numbers; a precision that
        follows is left out, see `hwnas.spaces.precision.split_precision`.
    form
        Expected form, for the message of an error.

    Raises
    ------
    InvalidInput
        The text is not of that form.

    Examples
    --------
    >>> split_string("gpt-s-1-192-4-12-True", "")
    ('gpt-s', [1, 192, 4, 12], True)
    """
    # The name ends where the numbers begin, so a space's name has no all-digit part. Numbers
    # have at most 9 digits: Python refuses to read extremely long ones.
    pattern = r"(?P<space>.+?)-(?P<numbers>[0-9]{1,9}(?:-[0-9]{1,9})+)-(?P<flag>True|False)"
    match = re.fullmatch(pattern, split_precision(text)[0])
    if match is None:
        raise InvalidInput(f"architecture {text!r}: {form}")
    return match["space"], [*map(int, match["numbers"].split("-"))], match["flag"] == "True"
