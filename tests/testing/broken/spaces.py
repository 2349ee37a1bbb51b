"""Families of spaces: one without a fault, and copies with one each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import InvalidInput
from hwnas.spaces import SearchSpace
from hwnas.typing import BoolArray, Codes, IntArray


class Convolutional(SearchSpace):
    """Stacks of convolutions; the count of weights is a closed form."""

    family = "convolutional"
    closed_forms = ("weights",)
    named: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cnn-s": {"depth": [1, 2], "width": [4, 8, 16]},
        "cnn-m": {"depth": [2, 3, 4], "width": [8, 16, 32, 64]},
    }

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int]) -> None:
        super().__init__(
            name,
            {"depth": depth, "norm": ["none", "batch", "layer"], "affine": [False, True]},
            layers={"width": width, "kernel": [1, 3, 5]},
            conditions={"affine": {"norm": ["batch", "layer"]}},
            allowed=lambda layer: layer["kernel"] < 5 or layer["width"] < 64,
        )
        if 0 in self.depths or min(self.layers["width"]) < 1:  # type: ignore[type-var]
            raise InvalidInput(f"expected positive numbers, found {depth} and {width}")

    def to_dict(self) -> dict[str, Any]:
        depth, width = self.choices["depth"], self.layers["width"]
        own = {"depth": list(depth), "width": list(width)}
        return {"family": self.family, "name": self.name, **own}

    def weights(self, codes: ArrayLike) -> IntArray:
        array = np.asarray(codes).astype(np.intp)
        widths = np.array(self.layers["width"])[array[:, self.layer_columns[:, 0]]]
        present = self.active(array)[:, self.layer_columns[:, 0]]
        return np.asarray((widths * present).sum(axis=1) + 1, dtype=np.int64)


class NoAnnotation(Convolutional):
    """Has a setting without annotation."""

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int], extra=0) -> None:  # type: ignore[no-untyped-def]
        super().__init__(name, depth=depth, width=width)


class Renames(Convolutional):
    """Gives a named space another name."""

    named: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cnn-x": {"depth": [1, 2], "width": [4, 8]},
    }

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int]) -> None:
        super().__init__(name.replace("-x", "-y"), depth=depth, width=width)


class CrashesOnNonsense(Convolutional):
    """Refuses nonsense by whatever error it meets."""

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int]) -> None:
        super().__init__(name, depth=[int(d) for d in depth], width=width)


class ManyLines(Convolutional):
    """Refuses nonsense in several lines."""

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int]) -> None:
        try:
            super().__init__(name, depth=depth, width=width)
        except InvalidInput as error:
            raise InvalidInput(f"cannot be built:\n{error}") from error


class WrongSize(Convolutional):
    """Counts one member too many."""

    size = 19  # type: ignore[assignment]


class YieldsTwice(Convolutional):
    """Enumerates a member twice."""

    def enumerate(self) -> Iterator[Codes]:
        chunks = list(super().enumerate())
        yield from chunks
        yield chunks[0][:1]


class PrefersDeep(Convolutional):
    """Samples the greatest depth more often than others."""

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        codes = super().sample(n, rng)
        codes[::2, 0] = len(self.depths) - 1
        return self.canonical(codes)


class GlobalGenerator(Convolutional):
    """Samples by a generator of its own."""

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        return super().sample(n, np.random.default_rng())


class KeepsInactive(Convolutional):
    """Leaves choices that are switched off as they are."""

    def canonical(self, codes: ArrayLike) -> Codes:
        codes = super().canonical(codes)
        codes[:, 2] |= codes[:, 1] == 0
        return codes

    def is_valid(self, codes: ArrayLike) -> BoolArray:
        return np.ones(len(np.asarray(codes)), dtype=bool)


class ForgetsNorm(Convolutional):
    """Encodes a choice as the first one."""

    def encode(self, configurations: Any) -> Codes:
        codes = super().encode(configurations)
        codes[:, 2] = 0
        return codes


class DecodesAnything(Convolutional):
    """Decodes codes that are out of range."""

    def decode(self, codes: ArrayLike) -> list[Any]:
        return super().decode(self.canonical(codes))


class Isolated(Convolutional):
    """Never changes the depth, so that some members cannot be reached."""

    def neighbours(self, code: ArrayLike) -> Codes:
        near = super().neighbours(code)
        return near[near[:, 0] == np.asarray(code)[0]]


class OwnNeighbour(Convolutional):
    """Counts a member among its neighbours."""

    def neighbours(self, code: ArrayLike) -> Codes:
        return np.concatenate([super().neighbours(code), self.canonical([code])])


class NegativeForm(Convolutional):
    """Has a closed form that is not positive."""

    def weights(self, codes: ArrayLike) -> IntArray:
        return -super().weights(codes)


class FractionalForm(Convolutional):
    """Has a closed form of fractions."""

    def weights(self, codes: ArrayLike) -> Any:
        return super().weights(codes) / 2


class BatchForm(Convolutional):
    """Has a closed form that depends on the other codes of a call."""

    def weights(self, codes: ArrayLike) -> IntArray:
        values = super().weights(codes)
        return values + len(values)


class ParsesAnything(Convolutional):
    """Parses a text that is no member."""

    def parse(self, text: str) -> Any:
        try:
            return super().parse(text)
        except InvalidInput:
            return self.decode(self.sample(1, np.random.default_rng(0)))[0]


class ForgetsWidths(Convolutional):
    """Leaves choices out of its dict."""

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "width": [4, 8]}


class LosesForms(Convolutional):
    """Has the dict of a space without a family, which has no closed forms."""

    def to_dict(self) -> dict[str, Any]:
        return SearchSpace.to_dict(self)


class HoldsFunction(Convolutional):
    """Keeps a function that cannot be pickled."""

    def __init__(self, name: str, *, depth: Sequence[int], width: Sequence[int]) -> None:
        super().__init__(name, depth=depth, width=width)
        self.key = lambda code: code
