"""Layers of torch without initial weights of their own.

`hwnas.profiling.language_model.draw_parameters` draws all weights. Default initialization would
advance torch's global random stream, and takes most of the time of building a model on ``"meta"``.
"""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """Linear layer."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Embedding(nn.Embedding):
    """Table of vectors."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class LayerNorm(nn.LayerNorm):
    """Norm by mean and variance."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""
