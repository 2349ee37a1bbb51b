"""Architectures and their strings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hwnas.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Architecture:
    """Architecture: one member of a search space.

    Attributes
    ----------
    space
        Name of the space it belongs to: ``"gpt-s"``.
    embed_dim
        Width of the residual stream.
    n_layer
        Number of transformer blocks.
    mlp_ratio, n_head
        For each block, hidden width of the MLP over `embed_dim`, and number of attention heads.
    bias
        Whether the linear layers of the blocks have biases.
    """

    space: str
    embed_dim: int
    n_layer: int
    mlp_ratio: tuple[int, ...]
    n_head: tuple[int, ...]
    bias: bool

    def __str__(self) -> str:
        """Return HW-GPT-Bench's string: space, layers, width, ratios, heads, bias."""
        numbers = (self.n_layer, self.embed_dim, *self.mlp_ratio, *self.n_head)
        return "-".join([self.space, *map(str, numbers), str(self.bias)])

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
        # The name ends where the numbers begin, so a space's name has no all-digit part. Numbers
        # have at most 9 digits: Python refuses to read extremely long ones.
        pattern = r"(?P<space>.+?)-(?P<numbers>\d{1,9}(?:-\d{1,9})+)-(?P<bias>True|False)"
        match = re.fullmatch(pattern, text)
        if match is None:
            raise InvalidInput(f"architecture {text!r}: {form}")

        # The number of layers says how many numbers follow the width.
        n_layer, embed_dim, *per_layer = map(int, match["numbers"].split("-"))
        if n_layer == 0 or len(per_layer) != 2 * n_layer:
            raise InvalidInput(
                f"architecture {text!r}: {n_layer} layers want {2 * n_layer} ratios and head "
                f"counts, found {len(per_layer)}; {form}"
            )
        ratios, heads = tuple(per_layer[:n_layer]), tuple(per_layer[n_layer:])
        return cls(match["space"], embed_dim, n_layer, ratios, heads, match["bias"] == "True")
