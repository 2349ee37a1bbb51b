"""Factors of layers: effects of a layer's options that differ between layers by a factor alone.

What an option costs or gains differs between layers mostly by a factor: one layer matters more than
another, in all of its options alike. The mean over layers, the *profile* of the options, is learned
from few architectures. Given a profile, a layer has a single factor to be learned, in place of a
weight for every contrast between options. The profile is estimated first, without factors, and then
fixed; Tukey's test of additivity takes the product of two effects in the same way.

References
----------
Tukey, "One degree of freedom for non-additivity", Biometrics 1949.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.additive.effects import Block, Effects
from hwnas.additive.extended_effects import ExtendedEffects
from hwnas.typing import Array, Codes

# Prior variances for an objective of variance 1, by pattern over layers: of all widths together,
# and once more of every width.
_SHARED = {"smooth": 1e-4, "each": 5e-5}
_BY_WIDTH = {"smooth": 3e-5, "each": 3e-5}


@dataclass(frozen=True, eq=False)
class _FactorBlock:
    """Factors with one prior variance: patterns over layers (L, q), once or for every width."""

    block: Block
    patterns: Array
    copies: int  # 1, or the number W of widths

    @property
    def size(self) -> int:
        return int(self.patterns.shape[1]) * self.copies


class FactoredEffects(ExtendedEffects):
    """Effects of a space with layers, and behind them factors of the layers for a profile.

    Parameters
    ----------
    plain
        Effects without factors.
    profile : (W, O)
        Mean term of a layer by its option, for each width.

    Examples
    --------
    >>> import hwnas
    >>> plain = Effects(hwnas.space("gpt-s"))
    >>> effects = FactoredEffects(plain, np.ones((3, 9)))
    >>> [block.name for block in effects.blocks[len(plain.blocks):]]
    ['factors, smooth', 'factors, each', 'factors, smooth, embed_dim', 'factors, each, embed_dim']
    """

    def __init__(self, plain: Effects | ExtendedEffects, profile: Array) -> None:
        self.profile = profile
        self._factors = _factor_blocks(plain.basic, len(profile))
        blocks = [factor.block for factor in self._factors]
        super().__init__(plain, blocks, [factor.size for factor in self._factors])

    def own_features(self, codes: Codes) -> Array:
        """Return the features (n, q) of factors."""
        width = self.width_of(codes)
        options, present = self.basic.layer_options(codes)
        terms = self.profile[width[:, None], options] * present  # (n, L)
        indicators = np.eye(len(self.profile))[width]  # (n, W)
        parts = []
        for factor in self._factors:
            part = terms @ factor.patterns
            if factor.copies > 1:
                part = (indicators[:, :, None] * part[:, None, :]).reshape(len(codes), -1)
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def own_tables(self, weights: Array) -> tuple[Array, Array]:
        """Return weighted sums of the features of factors as tables, see `Effects.tables`."""
        widths = self.basic.root_widths  # (R,)
        factors = np.zeros((len(weights), *self.present.shape))  # (s, R, L)
        start = 0
        for factor in self._factors:
            part = weights[:, start : start + factor.size]
            part = part.reshape(len(part), factor.copies, -1) @ factor.patterns.T  # (s, copies, L)
            factors += part[:, widths] if factor.copies > 1 else part
            start += factor.size
        layers = factors[..., None] * self.profile[widths][:, None]
        return np.zeros(factors.shape[:2]), layers


def layer_profile(effects: Effects | ExtendedEffects, weights: Array) -> Array:
    """Return the profile (W, O) of weights (P,): a layer's terms, less their mean over options.

    It is the mean over the layers and roots of a width.

    Examples
    --------
    >>> import hwnas
    >>> effects = Effects(hwnas.space("gpt-s"))
    >>> layer_profile(effects, np.zeros(effects.size)).shape
    (3, 9)
    """
    layers = effects.tables(weights[None])[1][0]  # (R, L, O)
    present = effects.present[:, :, None]
    means = (layers * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)  # (R, O)
    # Indicators of widths (W, R) as weights of a mean over roots.
    indicators = np.eye(effects.basic.n_widths)[effects.basic.root_widths].T
    profile = indicators @ means / np.maximum(indicators.sum(axis=1, keepdims=True), 1)
    return np.asarray(profile - profile.mean(axis=1, keepdims=True))


def _factor_blocks(effects: Effects, n_widths: int) -> list[_FactorBlock]:
    """Return the blocks of factors that have features."""
    factors = []
    for variances, copies in ((_SHARED, 1), (_BY_WIDTH, n_widths)):
        if copies == 1 and variances is _BY_WIDTH:
            continue  # a single width has no factors of its own
        for pattern, variance in variances.items():
            name = f"factors, {pattern}" + (f", {effects.width_name}" if copies > 1 else "")
            patterns = effects.layer_patterns(pattern)
            if patterns.shape[1]:
                block = Block(name, variance, (), "", pattern)
                factors.append(_FactorBlock(block, patterns, copies))
    return factors
