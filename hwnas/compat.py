"""HW-GPT-Bench's API: ``from hwnas.compat import HWGPT`` is the only line that changes.

Names, keys and shapes of answers are those of HW-GPT-Bench (Sukthanker et al. 2024,
arXiv:2405.10299, github.com/automl/HW-GPT-Bench), and so are the numbers: latencies in ms, memory
in MB, exact numbers of parameters and operations. **Energies** are the numbers that it returns and
calls Wh; as powers they make sense only in mWh, as everywhere in hwnas.

There, a latency or an energy is one sample of the architecture's distribution, from an unseeded
generator. Here it is one sample as well, from a generator with the seed of `HWGPT`. For medians,
quantiles and many architectures at once there is `hwnas.surrogate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from hwnas.errors import InvalidInput, UnknownName
from hwnas.spaces.arch_input import architecture_from_mapping
from hwnas.surrogates import surrogate
from hwnas.typing import Codes

# Names of HW-GPT-Bench, and ours.
_SPACES = {"s": "gpt-s", "m": "gpt-m", "l": "gpt-l"}
_SAMPLED = {"latencies": "latency", "energies": "energy"}
_EXACT = ("flops", "params")
_DEFAULT_METRICS = (*_SAMPLED, *_EXACT, "float16_memory", "bfloat16_memory")
_KEYS = tuple(f"sample_{name}" for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias"))

Answer = dict[str, float | dict[str, float]]


class HWGPT:
    """Drop-in replacement for ``hwgpt.api.HWGPT``.

    Parameters
    ----------
    search_space
        ``"s"``, ``"m"`` or ``"l"``.
    use_supernet_surrogate
        Must be false: hwnas ships no supernet.
    base_path
        Directory of HW-GPT-Bench's files; ignored.
    seed
        Seed of `sample_arch` and, in a separate stream, of the samples of latency and energy.

    Attributes
    ----------
    search_space : dict
        The choices: ``embed_dim_choices`` and so on; those of bias are ``"True"`` and ``"False"``.
    search_space_name : str
        ``"s"``, ``"m"`` or ``"l"``.
    device_list : list of str
        Devices that have latencies and energies.
    config : dict or None
        Copy of the last argument of `set_arch`.

    Raises
    ------
    InvalidInput
        No search space has that name, the supernet was requested, or the seed is not a non-negative
        integer.

    Examples
    --------
    >>> api = HWGPT("s", seed=0)
    >>> api.set_arch(api.sample_arch())
    >>> list(api.query("latencies", device="h100"))
    ['latencies']
    """

    def __init__(
        self,
        search_space: str,
        use_supernet_surrogate: bool = False,
        base_path: str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        _check_name("search space", search_space, _SPACES)
        if use_supernet_surrogate:
            _refuse_supernet("use_supernet_surrogate=True")
        if type(seed) is not int or seed < 0:
            raise InvalidInput(f"seed: expected a non-negative integer, found {seed!r}")
        self._bench = surrogate(_SPACES[search_space])
        # Two streams: the number of queries does not change the architectures that are sampled.
        arch_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
        self._arch_rng = np.random.default_rng(arch_seed)
        self._noise_rng = np.random.default_rng(noise_seed)
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
        """Sample an architecture, every choice uniformly, without setting it.

        Returns
        -------
        dict
            ``sample_embed_dim`` and ``sample_n_layer``, ``sample_layer_indices`` (of the existing
            layers), ``sample_n_head`` and ``sample_mlp_ratio``, lists as long as the deepest
            architecture of the space, and ``sample_bias``, ``"True"`` or ``"False"``.
        """
        choices, rng = self.search_space, self._arch_rng
        # HW-GPT-Bench samples ratios and heads for the deepest architecture, whatever the depth.
        max_depth = max(choices["n_layer_choices"])
        depth: int = rng.choice(choices["n_layer_choices"]).item()
        return {
            "sample_embed_dim": rng.choice(choices["embed_dim_choices"]).item(),
            "sample_n_layer": depth,
            "sample_layer_indices": list(range(depth)),
            "sample_n_head": rng.choice(choices["n_head_choices"], max_depth).tolist(),
            "sample_mlp_ratio": rng.choice(choices["mlp_ratio_choices"], max_depth).tolist(),
            "sample_bias": rng.choice(choices["bias_choices"]).item(),
        }

    def set_arch(self, config: Mapping[str, Any]) -> None:
        """Set the architecture of all later queries.

        Parameters
        ----------
        config
            Dictionary like those of `sample_arch`. Entries of lists beyond ``sample_n_layer``,
            ``sample_layer_indices`` and further keys are ignored. Bias may be a bool.

        Raises
        ------
        InvalidInput
            A key is missing, or its value is not in the search space.
        """
        if not isinstance(config, Mapping):
            raise InvalidInput(f"architecture: expected a dict with {_KEYS[0]}, found {config!r}")
        # 1. All keys that hwnas needs are present; further keys are allowed.
        if missing := [key for key in _KEYS if key not in config]:
            raise InvalidInput(
                f"architecture: expected {', '.join(_KEYS)}; missing: {', '.join(missing)}"
            )
        # 2. A copy, so that later changes of the dictionary have no effect.
        copy = {key: _to_python(value) for key, value in config.items()}
        space = self._bench.space
        arch = architecture_from_mapping({**copy, "space": space.name})
        # 3. Encoding checks the values. Its errors begin with our name of the choice.
        try:
            self._codes = space.encode([arch])
        except InvalidInput as error:
            raise InvalidInput(f"sample_{error}") from None
        self.config = copy

    def query(
        self, metric: str | None = None, device: str | None = None, predictor: str = "mlp"
    ) -> Answer:
        """Return metrics of the architecture that is set.

        Parameters
        ----------
        metric
            ``"latencies"``, ``"energies"``, ``"flops"``, ``"params"``, ``"float16_memory"``,
            ``"bfloat16_memory"`` or ``"perplexity"``; by default all but the last.
        device
            One of `device_list`, for latencies and energies; by default all of them.
        predictor
            Predictor of perplexity: ``"mlp"``.

        Returns
        -------
        dict
            ``{metric: value}``, where latencies (ms) and energies (mWh, see the top of this
            module) are ``{device: value}``, a new sample in each call; memory in MB; flops and
            params are ints.

        Raises
        ------
        InvalidInput
            No architecture is set; the metric, device or predictor is unknown; the supernet was
            requested.
        """
        if predictor == "supernet":
            _refuse_supernet('predictor="supernet"')
        _check_name("predictor", predictor, ["mlp"])
        if metric is not None:
            _check_name("metric", metric, [*_DEFAULT_METRICS, "perplexity"])
        if device is not None:
            _check_name("device", device, self.device_list)
        # HW-GPT-Bench accepts a device for every metric, and ignores it without need.
        devices = self.device_list if device is None else [device]
        names = _DEFAULT_METRICS if metric is None else [metric]
        return {name: self._value(name, devices) for name in names}

    def get_flops(self) -> int:
        """Return the operations of one forward pass over 1024 tokens."""
        return self._exact_metric("flops")

    def get_params(self) -> int:
        """Return the number of parameters."""
        return self._exact_metric("params")

    def compute_predictions_ppl(self) -> float:
        """Return the perplexity."""
        return self._predicted_metric("perplexity")

    def query_gt_all_archs(self, metric: str | None = None, device: str | None = None) -> NoReturn:
        """Raise `InvalidInput`: hwnas has no table of all measured architectures."""
        raise InvalidInput(
            "query_gt_all_archs: hwnas has no table of measured architectures, only models fitted "
            f"to published figures; with bench = hwnas.surrogate({self._bench.space.name!r}) call "
            "bench.predict(codes, names) for any number of architectures, or bench.front(names) "
            "for the exact front"
        )

    def _current_codes(self) -> Codes:
        """Return the code of the architecture that is set, (1, d)."""
        if self._codes is None:
            raise InvalidInput("no architecture is set; call set_arch(arch) first")
        return self._codes

    def _value(self, metric: str, devices: list[str]) -> float | dict[str, float]:
        """Return the answer for one metric."""
        if metric in _EXACT:
            return self._exact_metric(metric)
        if metric not in _SAMPLED:
            return self._predicted_metric(metric)
        # One sample for each device, in their order: it determines the use of the noise stream.
        codes, name = self._current_codes(), _SAMPLED[metric]
        samples = {d: self._bench.draw(codes, f"{name}@{d}", self._noise_rng) for d in devices}
        return {device: float(sample[0, 0]) for device, sample in samples.items()}

    def _exact_metric(self, metric: str) -> int:
        return int(getattr(self._bench.space, metric)(self._current_codes())[0])

    def _predicted_metric(self, metric: str) -> float:
        return float(self._bench.predict(self._current_codes(), [metric])[0, 0])


def _check_name(kind: str, name: object, choices: Iterable[str]) -> None:
    """Raise an error unless a name is among the choices."""
    choices = list(choices)
    # A list or another object that cannot be hashed or compared is an error as well.
    if not isinstance(name, str):
        raise InvalidInput(f"{kind}: expected one of {', '.join(choices)}, found {name!r}")
    if name not in choices:
        raise UnknownName(kind, name, choices)


def _refuse_supernet(argument: str) -> NoReturn:
    raise InvalidInput(
        f'{argument}: hwnas ships no supernet; predictor="mlp" returns the perplexity that '
        "HW-GPT-Bench predicts; to use your own measurements, register a backend with "
        "hwnas.register_backend"
    )


def _to_python(value: Any) -> Any:
    """Return Python's numbers, strings and lists for NumPy's; lists are copied."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_to_python(item) for item in value] if isinstance(value, list | tuple) else value
