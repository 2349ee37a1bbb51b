"""Members that need no search: homogeneous pruning, and random ones of given depths."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import ShrunkLlamaSpace
from hwnas.typing import Array, Codes


def homogeneous_members(space: ShrunkLlamaSpace, scores: Array) -> dict[str, Codes]:
    """Return homogeneously pruned members, as Minitron does (arXiv:2407.14679, section 2.3).

    Parameters
    ----------
    scores : (L, R, H)
        Losses that alternatives add alone.

    Returns
    -------
    dict
        ``"width"``: all layers with the same sizes; ``"depth"``: whole layers, the ones left out
        that cost least alone; ``"both"``: all combinations of the two.
    """
    full_code = space.canonical(space.cardinalities[None] - 1)
    n_layers, n_mlp, n_heads = scores.shape
    dropped = np.argsort(scores[:, 0, 0], kind="stable")
    members: dict[str, list[Codes]] = {"width": [], "depth": [], "both": []}
    for count in range(n_layers):
        for mlp in range(1, n_mlp):
            for heads in range(1, n_heads):
                code = full_code.copy()
                layers = space.of_layers(code)
                layers[:] = (mlp, heads)
                layers[:, dropped[:count]] = 0
                is_narrow = (mlp, heads) != (n_mlp - 1, n_heads - 1)
                if not count and not is_narrow:
                    continue
                kind = "both" if count and is_narrow else "depth" if count else "width"
                # Combinations of the two are many: those with equal shares of heads and neurons.
                if kind != "both" or mlp == heads:
                    members[kind].append(code[0])
    return {kind: np.array(codes, dtype=np.int8) for kind, codes in members.items()}


def random_members(space: ShrunkLlamaSpace, count: int, rng: np.random.Generator) -> Codes:
    """Return random members with one to three numbers of layers, as many of each.

    In each a share of the layers stays whole; of the others each has a random size.
    """
    n_layers = len(space.layer_columns)
    depths = [n_layers - k for k in range(min(3, n_layers))]
    full_code = space.canonical(space.cardinalities[None] - 1)
    codes: list[Codes] = []
    while len(codes) < count:
        depth = depths[len(codes) % len(depths)]
        code = space.sample(1, rng)
        layers = space.of_layers(code)
        is_whole = rng.random(n_layers) < rng.uniform(0.3, 0.9)
        layers[:, is_whole] = space.of_layers(full_code)[:, is_whole]
        layers[:, rng.permutation(n_layers)[: n_layers - depth]] = 0
        is_new = not any((code[0] == former).all() for former in codes)
        if is_new and space.depth_of(code)[0] == depth:
            codes.append(code[0])
    return np.array(codes, dtype=np.int8)
