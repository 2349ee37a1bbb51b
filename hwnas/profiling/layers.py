"""Layers of torch without initial weights of their own.

`hwnas.profiling.language_model.draw_parameters` draws all weights. Default initialization would
advance torch's global random stream, and takes most of the time of building a model on ``"meta"``.
"""

from __future__ import annotations

from torch import nn


class Uninitialized:
    """Mixin of layers that leave new weights as they are."""

    def reset_parameters(self) -> None:
        """Draw no weights."""


class Linear(Uninitialized, nn.Linear):
    """Linear layer."""


class Embedding(Uninitialized, nn.Embedding):
    """Table of vectors."""


class LayerNorm(Uninitialized, nn.LayerNorm):
    """Norm by mean and variance."""
