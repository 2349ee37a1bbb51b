"""HW-GPT-Bench's API: ``from hwnas.compat import HWGPT`` is the only line that changes.

Names, arguments, keys and shapes of answers are those of HW-GPT-Bench (Sukthanker et al. 2024,
arXiv:2405.10299, github.com/automl/HW-GPT-Bench), and so are the numbers: latencies in ms, memory
in MB, exact numbers of parameters and operations. **Energies** are the numbers that it returns and
calls Wh; as powers they make sense only in mWh, as everywhere in hwnas.

There, a latency or an energy is one sample of the architecture's distribution, from an unseeded
generator. Here it is one sample as well, from a generator with the seed of `HWGPT`. For medians,
quantiles and many architectures at once there is `hwnas.surrogate`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hwnas.errors import InvalidInput, MissingExtra, UnknownName
from hwnas.spaces import require_gpt
from hwnas.spaces.arch_input import architecture_from_mapping
from hwnas.surrogates import surrogate
from hwnas.typing import Codes

if TYPE_CHECKING:
    from hwnas.profiling import GPT

# Names of HW-GPT-Bench, and ours.
_SPACES = {"s": "gpt-s", "m": "gpt-m", "l": "gpt-l"}
_SAMPLED = {"latencies": "latency", "energies": "energy"}
_EXACT = ("flops", "params")
_MEMORY = ("float16_memory", "bfloat16_memory")
_METRICS = (*_SAMPLED, *_EXACT, *_MEMORY, "perplexity", "accuracy")
_KEYS = tuple(f"sample_{name}" for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head", "bias"))

# Names that hwnas cannot serve, and the way to the same end.
_NO_TABLE = (
    "hwnas has no table of measured architectures, only models fitted to published figures; with "
    "bench = hwnas.surrogate({space!r}) call bench.predict(codes, names) for any number of "
    "architectures, or bench.front(names) for the exact front"
)
_NO_SUPERNET = (
    'hwnas ships no supernet; query(metric="perplexity", predictor="mlp") returns the perplexity '
    "that HW-GPT-Bench predicts; to use your own measurements, register a backend with "
    "hwnas.register_backend"
)
_NO_FILES = (
    "hwnas has no configuration files of HW-GPT-Bench; the architecture is in config, and "
    "create_model() builds its model"
)
_NO_NETWORK = "hwnas has no network for it; compute_predictions_ppl() returns its prediction"
_TABLE_NAMES = (
    "gt_stats", "get_gt_latencies", "get_gt_energies", "get_gt_agnostic", "query_gt_all_archs"
)  # fmt: skip
_SUPERNET_NAMES = ("gpt_ppl_profiler", "eval_supernet_surrogate", "prepare_args_for_ppl_profiler")
_NOT_SERVED = {
    **dict.fromkeys(_TABLE_NAMES, _NO_TABLE),
    **dict.fromkeys(_SUPERNET_NAMES, _NO_SUPERNET),
    **dict.fromkeys(("cfg_model", "get_model_config"), _NO_FILES),
    "surrogate_ppl": _NO_NETWORK,
}

Answer = dict[str, float | dict[str, float]]


class HWGPT:
    """Drop-in replacement for ``hwgpt.api.HWGPT``.

    Methods and attributes that need the supernet, the table of measured architectures or further
    files of HW-GPT-Bench raise `InvalidInput` with an alternative.

    Parameters
    ----------
    search_space
        ``"s"``, ``"m"`` or ``"l"``.
    use_supernet_surrogate
        Must be false, which is not HW-GPT-Bench's default: hwnas ships no supernet.
    base_path
        Directory of HW-GPT-Bench's files; ignored.
    seed
        Seed of `sample_arch` and, in a separate stream, of the samples of latency and energy. A
        script that creates several objects needs a seed for each: equal seeds sample the same.

    Attributes
    ----------
    search_space : dict
        The choices: ``embed_dim_choices`` and so on; those of bias are ``"True"`` and ``"False"``.
    search_space_name : str
        ``"s"``, ``"m"`` or ``"l"``.
    config : dict or None
        The architecture that is set, by `set_arch` or `sample_arch`; no copy.
    device_list : list of str
        Devices that have latencies and energies.
    hw_metrics_surrogate, hw_metrics_true : list of str
        Metrics of `query` that depend on the device, and those that do not.
    device_query, hw_metrics_surrogate_query, hw_metrics_true_query : list of str
        Devices and metrics of the last query, or of `set_metrics_and_devices`.
    metrics, on_device, use_supernet_surrogate, base_path
        Names of further metrics, ``"cpu"`` (it computes predictions), and the arguments.

    Raises
    ------
    InvalidInput
        No search space has that name, the supernet was requested, or the seed is not a non-negative
        integer.

    Examples
    --------
    >>> api = HWGPT("s", seed=0)
    >>> arch = api.sample_arch()
    >>> list(api.query(metric="latencies", device="h100")["latencies"])
    ['h100']
    """

    def __init__(
        self,
        search_space: str,
        use_supernet_surrogate: bool = False,
        base_path: str | os.PathLike[str] = ".",
        *,
        seed: int = 0,
    ) -> None:
        _check_name("search space", search_space, _SPACES)
        if use_supernet_surrogate:
            raise InvalidInput(f"use_supernet_surrogate=True: {_NO_SUPERNET}")
        if type(seed) is not int or seed < 0:
            raise InvalidInput(f"seed: expected a non-negative integer, found {seed!r}")
        self._bench = surrogate(_SPACES[search_space])
        # Two streams: the number of queries does not change the architectures that are sampled.
        arch_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
        self._arch_rng = np.random.default_rng(arch_seed)
        self._noise_rng = np.random.default_rng(noise_seed)
        self.use_supernet_surrogate, self.base_path, self.on_device = False, base_path, "cpu"
        self.config: Mapping[str, Any] | None = None
        self.search_space_name = search_space
        self.search_space: dict[str, list[Any]] = {
            f"{name}_choices": list(getattr(self._bench.space, name))
            for name in ("embed_dim", "n_layer", "mlp_ratio", "n_head")
        }
        self.search_space["bias_choices"] = ["True", "False"]
        self.device_list = list(self._bench.devices)
        self.hw_metrics_surrogate, self.hw_metrics_true = [*_SAMPLED], [*_EXACT, *_MEMORY]
        self.metrics = ["perplexity", "accuracy"]
        self.init_devices()

    # Hidden from type checkers, which report these names, as any misspelled one, before a run does.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name in _NOT_SERVED:
                reason = _NOT_SERVED[name].format(space=_SPACES[self.search_space_name])
                raise InvalidInput(f"{name}: {reason}")
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )

    def init_devices(self) -> None:
        """Select all devices and hardware metrics, as `query` without arguments does."""
        self.set_metrics_and_devices()

    def set_metrics_and_devices(
        self,
        hw_metric: str | Sequence[str] | None = None,
        device: str | Sequence[str] | None = None,
    ) -> None:
        """Select metrics and devices; every `query` makes its own selection.

        Raises `InvalidInput` if a metric or device is unknown.

        Parameters
        ----------
        hw_metric, device
            One or several, see `query`; by default all hardware metrics, all of `device_list`.
        """
        if hw_metric is None:
            hw_metric = [*self.hw_metrics_surrogate, *self.hw_metrics_true]
        metrics = _check_names("metric", hw_metric, _METRICS)
        if "accuracy" in metrics:
            raise InvalidInput(f"metric 'accuracy': {_NO_SUPERNET}")
        if isinstance(device, str) and device in _METRICS:
            raise InvalidInput(
                f"device: expected a device, found the metric {device!r}; the device is the first "
                f"argument, as in HW-GPT-Bench; write metric={device!r}"
            )
        devices = self.device_list if device is None else device
        self.device_query = _check_names("device", devices, self._bench.devices)
        self.hw_metrics_surrogate_query = [metric for metric in metrics if metric in _SAMPLED]
        self.hw_metrics_true_query = [metric for metric in metrics if metric not in _SAMPLED]

    def sample_arch(self) -> dict[str, Any]:
        """Sample an architecture, every choice uniformly, and set it.

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
        self.config = config = {
            "sample_embed_dim": rng.choice(choices["embed_dim_choices"]).item(),
            "sample_n_layer": depth,
            "sample_layer_indices": list(range(depth)),
            "sample_n_head": rng.choice(choices["n_head_choices"], max_depth).tolist(),
            "sample_mlp_ratio": rng.choice(choices["mlp_ratio_choices"], max_depth).tolist(),
            "sample_bias": rng.choice(choices["bias_choices"]).item(),
        }
        return config

    def set_arch(self, config: Mapping[str, Any]) -> None:
        """Set the architecture of all later queries.

        Parameters
        ----------
        config
            Dictionary like those of `sample_arch`. Entries of lists beyond ``sample_n_layer``,
            ``sample_layer_indices`` and further keys are ignored. Bias may be a bool. The
            dictionary is not copied: later changes of it count, as in HW-GPT-Bench.

        Raises
        ------
        InvalidInput
            A key is missing, or its value is not in the search space.
        """
        self._encode(config)
        self.config = config

    def reset_config(self) -> None:
        """Check the architecture that is set; later changes of it need no further call.

        Raises `InvalidInput` if no architecture is set, or a value is not in the search space.
        """
        self._current_codes()

    def create_model(self) -> GPT:
        """Build the PyTorch model of the architecture that is set, with initial weights.

        Returns
        -------
        GPT
            `hwnas.profiling.GPT`, with the layers and the number of parameters of HW-GPT-Bench's
            class, but not with its attributes.

        Raises `InvalidInput` if no architecture is set, `MissingExtra` without PyTorch.
        """
        codes = self._current_codes()
        try:
            from hwnas.profiling import build_gpt
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtra("create_model", "torch", "profile") from error
        return build_gpt(require_gpt(self._bench.space), self._bench.space.decode(codes)[0])

    def query(
        self,
        device: str | Sequence[str] | None = None,
        metric: str | Sequence[str] | None = None,
        predictor: str = "mlp",
    ) -> Answer:
        """Return metrics of the architecture that is set.

        Parameters
        ----------
        device
            One or several of `device_list`; by default all of them. Other metrics than latencies
            and energies do not depend on it.
        metric
            One or several of ``"latencies"``, ``"energies"``, ``"flops"``, ``"params"``,
            ``"float16_memory"``, ``"bfloat16_memory"`` and ``"perplexity"``. By default latencies
            and energies if a device is given, else all but the perplexity.
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
            No architecture is set; a metric, device or predictor is unknown; the supernet was
            requested.

        Examples
        --------
        >>> api = HWGPT("s", seed=0)
        >>> arch = api.sample_arch()
        >>> list(api.query(device="rtx2080"))
        ['latencies', 'energies']
        >>> list(api.query(metric=["params", "flops"]))
        ['params', 'flops']
        """
        _check_name("predictor", predictor, ["mlp", "supernet"])
        if metric is None and device is not None:
            metric = self.hw_metrics_surrogate
        self.set_metrics_and_devices(metric, device)
        # The predictor concerns the perplexity alone, as in HW-GPT-Bench.
        if predictor == "supernet" and "perplexity" in self.hw_metrics_true_query:
            raise InvalidInput(f'predictor="supernet": {_NO_SUPERNET}')
        codes = self._current_codes()
        # One sample for each device, in their order: it determines the use of the noise stream.
        answer: Answer = {
            name: {device: self._sample(codes, name, device) for device in self.device_query}
            for name in self.hw_metrics_surrogate_query
        }
        return answer | {name: self._predict(codes, name) for name in self.hw_metrics_true_query}

    def compute_predictions_hw(self, hw_metric: str, device: str) -> float:
        """Return one sample of ``"latencies"`` (ms) or ``"energies"`` (mWh) on a device."""
        _check_name("metric", hw_metric, _SAMPLED)
        _check_name("device", device, self._bench.devices)
        return self._sample(self._current_codes(), hw_metric, device)

    def compute_predictions_ppl(self) -> float:
        """Return the perplexity."""
        return self._predict(self._current_codes(), "perplexity")

    def get_flops(self) -> int:
        """Return the operations of one forward pass over 1024 tokens."""
        return int(self._predict(self._current_codes(), "flops"))

    def get_params(self) -> int:
        """Return the number of parameters."""
        return int(self._predict(self._current_codes(), "params"))

    def get_memory(self, objective: str) -> float:
        """Return ``"float16_memory"`` or ``"bfloat16_memory"`` in MB."""
        _check_name("metric", objective, _MEMORY)
        return self._predict(self._current_codes(), objective)

    def _encode(self, config: object) -> Codes:
        """Return the code of an architecture, (1, d), after checking it."""
        if not isinstance(config, Mapping):
            raise InvalidInput(f"architecture: expected a dict with {_KEYS[0]}, found {config!r}")
        # 1. All keys that hwnas needs are present; further keys are allowed.
        if missing := [key for key in _KEYS if key not in config]:
            raise InvalidInput(
                f"architecture: expected {', '.join(_KEYS)}; missing: {', '.join(missing)}"
            )
        # 2. Values of NumPy are those of Python.
        values = {key: _to_python(config[key]) for key in _KEYS}
        arch = architecture_from_mapping({**values, "space": self._bench.space.name})
        # 3. Encoding checks the values. Its errors begin with our name of the choice.
        try:
            return self._bench.space.encode([arch])
        except InvalidInput as error:
            raise InvalidInput(f"sample_{error}") from None

    def _current_codes(self) -> Codes:
        """Return the code of the architecture that is set, (1, d)."""
        if self.config is None:
            raise InvalidInput("no architecture is set; call set_arch(arch) or sample_arch() first")
        return self._encode(self.config)

    def _sample(self, codes: Codes, metric: str, device: str) -> float:
        """Draw a latency or an energy."""
        objective = f"{_SAMPLED[metric]}@{device}"
        return float(self._bench.draw(codes, objective, self._noise_rng)[0, 0])

    def _predict(self, codes: Codes, metric: str) -> float:
        """Return a metric that does not depend on the device; parameters and operations as int."""
        if metric in _EXACT:
            return int(getattr(self._bench.space, metric)(codes)[0])
        return float(self._bench.predict(codes, [metric])[0, 0])


def _check_names(kind: str, names: object, choices: Iterable[str]) -> list[str]:
    """Return one name or a list of names as a list without duplicates, all among the choices."""
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple):
        raise InvalidInput(f"{kind}: expected a name or a list of names, found {names!r}")
    for name in names:
        _check_name(kind, name, choices)
    return list(dict.fromkeys(names))


def _check_name(kind: str, name: object, choices: Iterable[str]) -> None:
    """Raise an error unless a name is among the choices."""
    choices = list(choices)
    if not isinstance(name, str):
        raise InvalidInput(f"{kind}: expected one of {', '.join(choices)}, found {name!r}")
    if name not in choices:
        raise UnknownName(kind, name, choices)


def _to_python(value: Any) -> Any:
    """Return Python's numbers, strings and lists for NumPy's; lists are copied."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_to_python(item) for item in value] if isinstance(value, list | tuple) else value
