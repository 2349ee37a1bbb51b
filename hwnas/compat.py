"""HW-GPT-Bench's API: ``from hwnas.compat import HWGPT`` is the only line that changes.

Names, keys and shapes of answers are those of HW-GPT-Bench (Sukthanker et al. 2024,
arXiv:2405.10299, github.com/automl/HW-GPT-Bench), and so are the numbers: latencies in ms, memory
in MB, parameters and operations counted one by one. **Energies** are the numbers that it returns
and calls Wh; as powers they make sense only in mWh, as everywhere in hwnas.

There, a latency or an energy is one draw from the network's distribution, by an unseeded generator.
Here it is one draw as well, by a generator whose seed `HWGPT` is given. For medians, quantiles and
many networks at once there is `hwnas.surrogate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces import Codes
from hwnas.spaces.arch_input import architecture
from hwnas.surrogates import surrogate

_SPACES = {"s": "gpt-s", "m": "gpt-m", "l": "gpt-l"}
_DRAWN = {"latencies": "latency", "energies": "energy"}  # their names, and ours
_COUNTED = ("flops", "params")
_ALL = (*_DRAWN, *_COUNTED, "float16_memory", "bfloat16_memory")
_KEYS = tuple(f"sample_{name}" for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias"))

Answer = dict[str, float | dict[str, float]]


class HWGPT:
    """A drop-in for ``hwgpt.api.HWGPT``.

    Parameters
    ----------
    search_space
        ``"s"``, ``"m"`` or ``"l"``.
    use_supernet_surrogate
        Must be false: hwnas ships no supernet.
    base_path
        Where HW-GPT-Bench looks for its files. Nothing is read from there.
    seed
        Of what `sample_arch` samples and, in a stream of its own, of draws of latency and energy.

    Attributes
    ----------
    search_space : dict
        The choices: ``embed_dim_choices`` and so on; of bias they are ``"True"`` and ``"False"``.
    search_space_name : str
        ``"s"``, ``"m"`` or ``"l"``.
    device_list : list of str
        The devices that latencies and energies are known on.
    config : dict or None
        A copy of what `set_arch` was last given.

    Raises
    ------
    InvalidInput
        No search space has that name, the supernet was asked for, or the seed is not a non-negative
        integer.
    """

    def __init__(
        self,
        search_space: str,
        use_supernet_surrogate: bool = False,
        base_path: str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        _check("search space", search_space, _SPACES)
        if use_supernet_surrogate:
            _refuse_supernet("use_supernet_surrogate=True")
        if type(seed) is not int or seed < 0:
            raise InvalidInput(f"seed: expected a non-negative integer, found {seed!r}")
        self._bench = surrogate(_SPACES[search_space])
        architectures, noise = np.random.SeedSequence(seed).spawn(2)
        self._architectures = np.random.default_rng(architectures)
        self._noise = np.random.default_rng(noise)
        self.config: dict[str, Any] | None = None
        self._codes: Codes | None = None
        self.search_space_name = search_space
        self.search_space: dict[str, list[Any]] = {
            f"{name}_choices": list(getattr(self._bench.space, name))
            for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head")
        }
        self.search_space["bias_choices"] = ["True", "False"]
        self.device_list = list(self._bench.devices)

    def sample_arch(self) -> dict[str, Any]:
        """Sample an architecture, every choice uniformly; it is not set.

        Returns
        -------
        dict
            ``sample_embed_dim`` and ``sample_n_layer``, ``sample_layer_indices`` (of the layers
            there are), ``sample_n_head`` and ``sample_mlp_ratio``, lists as long as the deepest
            network of the space, and ``sample_bias``, ``"True"`` or ``"False"``.
        """
        choices, rng = self.search_space, self._architectures
        deepest = max(choices["n_layer_choices"])
        depth: int = rng.choice(choices["n_layer_choices"]).item()
        return {
            "sample_embed_dim": rng.choice(choices["embed_dim_choices"]).item(),
            "sample_n_layer": depth,
            "sample_layer_indices": list(range(depth)),
            "sample_n_head": rng.choice(choices["n_head_choices"], deepest).tolist(),
            "sample_mlp_ratio": rng.choice(choices["mlp_ratio_choices"], deepest).tolist(),
            "sample_bias": rng.choice(choices["bias_choices"]).item(),
        }

    def set_arch(self, config: Mapping[str, Any]) -> None:
        """Choose the architecture that is asked about from now on.

        Parameters
        ----------
        config
            A dictionary like those of `sample_arch`. Entries of lists beyond ``sample_n_layer``,
            ``sample_layer_indices`` and further keys do not matter. Bias may be a bool.

        Raises
        ------
        InvalidInput
            A key is missing, or its value is not of the search space.
        """
        if not isinstance(config, Mapping):
            raise InvalidInput(f"architecture: expected a dict with {_KEYS[0]}, found {config!r}")
        if missing := [key for key in _KEYS if key not in config]:
            raise InvalidInput(
                f"architecture: expected {', '.join(_KEYS)}; missing: {', '.join(missing)}"
            )
        copy = {key: _plain(value) for key, value in config.items()}
        space = self._bench.space
        network = architecture({**copy, "space": space.name})
        try:
            self._codes = space.encode([network])
        except InvalidInput as error:  # which begins with the choice's name in hwnas
            raise InvalidInput(f"sample_{error}") from None
        self.config = copy

    def query(
        self, metric: str | None = None, device: str | None = None, predictor: str = "mlp"
    ) -> Answer:
        """What there is to know of the architecture that is set.

        Parameters
        ----------
        metric
            ``"latencies"``, ``"energies"``, ``"flops"``, ``"params"``, ``"float16_memory"``,
            ``"bfloat16_memory"`` or ``"perplexity"``; by default all but the last.
        device
            One of `device_list`, for latencies and energies; by default all of them.
        predictor
            Of perplexity: ``"mlp"``.

        Returns
        -------
        dict
            ``{metric: value}``, where latencies (ms) and energies (mWh, see the top of this
            module) are ``{device: value}``, a draw each time they are asked for; memory in MB;
            flops and params are ints.

        Raises
        ------
        InvalidInput
            No architecture is set; a metric, a device or a predictor that there is not; the
            supernet.
        """
        if predictor == "supernet":
            _refuse_supernet('predictor="supernet"')
        _check("predictor", predictor, ["mlp"])
        if metric is not None:
            _check("metric", metric, [*_ALL, "perplexity"])
        if device is not None:
            _check("device", device, self.device_list)
        devices = self.device_list if device is None else [device]
        return {name: self._value(name, devices) for name in (_ALL if metric is None else [metric])}

    def get_flops(self) -> int:
        """Operations of one forward pass over 1024 tokens."""
        return self._count("flops")

    def get_params(self) -> int:
        """Number of parameters."""
        return self._count("params")

    def compute_predictions_ppl(self) -> float:
        """Perplexity."""
        return self._number("perplexity")

    def query_gt_all_archs(self, metric: str | None = None, device: str | None = None) -> NoReturn:
        """Refused with `InvalidInput`: hwnas has no table of all measured architectures."""
        raise InvalidInput(
            "query_gt_all_archs: hwnas has no table of measured architectures, only what is fitted "
            f"to published figures; with bench = hwnas.surrogate({self._bench.space.name!r}) ask "
            "bench.predict(codes, names) for any number of architectures, or bench.front(names) "
            "for the best of all"
        )

    def _set_codes(self) -> Codes:
        """The code of the architecture that is set, (1, d)."""
        if self._codes is None:
            raise InvalidInput("no architecture is set; call set_arch(arch) before asking")
        return self._codes

    def _value(self, metric: str, devices: list[str]) -> float | dict[str, float]:
        if metric in _COUNTED:
            return self._count(metric)
        if metric not in _DRAWN:
            return self._number(metric)
        codes, name = self._set_codes(), _DRAWN[metric]
        draws = {d: self._bench.draw(codes, f"{name}@{d}", self._noise) for d in devices}
        return {device: float(draw[0, 0]) for device, draw in draws.items()}

    def _count(self, metric: str) -> int:
        return int(getattr(self._bench.space, metric)(self._set_codes())[0])

    def _number(self, metric: str) -> float:
        return float(self._bench.predict(self._set_codes(), [metric])[0, 0])


def _check(kind: str, given: object, known: Iterable[str]) -> None:
    """Raise unless a name is known."""
    known = list(known)
    if not isinstance(given, str):
        raise InvalidInput(f"{kind}: expected one of {', '.join(known)}, found {given!r}")
    if given not in known:
        raise UnknownName(kind, given, known)


def _refuse_supernet(asked: str) -> NoReturn:
    raise InvalidInput(
        f'{asked}: hwnas ships no supernet; predictor="mlp" is what HW-GPT-Bench predicts of its '
        "perplexities, and networks that you measure yourself come in through "
        "hwnas.register_backend"
    )


def _plain(value: Any) -> Any:
    """Python's numbers, strings and lists where NumPy's were given; lists are copies."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
