"""Metrics of the profile backend, declared where they can be listed without importing torch."""

from __future__ import annotations

from dataclasses import replace

from hwnas.objectives import UNITS, Metric
from hwnas.workloads import BUILT_IN, CLOSED_FORMS, QUANTIZED, Workload

# Text for a workload that is not known yet.
DEFAULT_WORKLOAD = "one forward pass of a batch: by default 8 sequences as long as the context"


def device_metrics(workload: str = DEFAULT_WORKLOAD) -> dict[str, Metric]:
    """Return the metrics that are measured on a device, the fastest measurement first.

    All are cheap compared with a training, and latency has a distribution.

    Parameters
    ----------
    workload
        Short text on the forward pass, for the metrics' `meaning`.

    Examples
    --------
    >>> device_metrics("one forward pass of 1 x 64 tokens")["latency"].meaning
    'one forward pass of 1 x 64 tokens; median of as many passes as the error needs'
    """
    return {
        "peak_memory": Metric(
            "MB", "cheap", meaning=f"maximum memory during {workload}, weights included"
        ),
        "latency": Metric(
            "ms",
            "cheap",
            quantiles=True,
            meaning=f"{workload}; median of as many passes as the error needs",
        ),
        "energy": Metric(
            "mWh", "cheap", meaning=f"{workload}; by the device's counter, idle power included"
        ),
    }


# Metrics that need a training; both come from the same evaluation.
TRAINED_METRICS = {
    "perplexity": Metric(
        "",
        "expensive",
        fidelity_dependent=True,
        meaning="held-out documents of your text, by token, after a training from scratch",
    ),
    "bits_per_byte": Metric(
        "bits",
        "expensive",
        fidelity_dependent=True,
        meaning="the same documents, by byte: comparable between tokenizers",
    ),
}


def inherited_metrics(steps: int) -> dict[str, Metric]:
    """Return the metrics of models with weights of a supernet, trained for some more steps.

    Examples
    --------
    >>> inherited_metrics(0)["perplexity"].meaning
    'held-out documents of your text, by token, with the weights of a supernet'
    """
    end = "with the weights of a supernet" + (f", after {steps} more steps" if steps else "")
    return {
        name: replace(metric, meaning=metric.meaning.replace("after a training from scratch", end))
        for name, metric in TRAINED_METRICS.items()
    }


# Metrics of a workload that are measured on a device, the fastest measurement first.
WORKLOAD_DEVICE_METRICS = (
    "peak_memory",
    "ttft",
    "tpot",
    "latency",
    "throughput",
    "energy_per_token",
)
_REPEATED = ("ttft", "tpot", "latency")  # whose repeated requests have a distribution
_QUANTITIES = {
    "kv_cache": "keys and values of all positions of the whole batch; exact",
    "weight_memory": "all weights and buffers at the workload's precision; exact",
    "peak_memory": "maximum memory, weights and cache included",
    "ttft": "time to the first token: prefill of the prompt",
    "tpot": "time per output token: mean decoding step of the whole batch",
    "latency": "the whole request: ttft + (generate - 1) x tpot",
    "throughput": "tokens generated in all over the latency of the request",
    "energy_per_token": "energy of the whole request over the tokens generated in all, idle power "
    "included",
    "perplexity": "held-out documents of your text, by token, at the workload's precision",
}


def workload_metrics(name: str, workload: Workload) -> dict[str, Metric]:
    """Return the metrics of one workload.

    One forward pass, which generates nothing, has latency and energy alone. Without a second token
    there are no decoding steps, and so no ``tpot``.

    Parameters
    ----------
    name
        Name of the workload.
    workload
        What is asked for.

    Returns
    -------
    dict of str to Metric
        By metric and workload, ``"tpot.serve"``. Those of `WORKLOAD_DEVICE_METRICS` and ``energy``
        are measured on a device, as ``tpot.serve@cuda``; the others have none.

    Examples
    --------
    >>> from hwnas.workloads import BUILT_IN
    >>> list(workload_metrics("serve", BUILT_IN["serve"]))  # doctest: +NORMALIZE_WHITESPACE
    ['kv_cache.serve', 'weight_memory.serve', 'peak_memory.serve', 'ttft.serve', 'tpot.serve',
     'latency.serve', 'throughput.serve', 'energy_per_token.serve', 'perplexity.serve']
    >>> list(workload_metrics("forward", BUILT_IN["forward"]))
    ['latency.forward', 'energy.forward']
    """
    if workload.generate == 0:
        metrics = device_metrics(workload.meaning)
        return {f"{metric}.{name}": metrics[metric] for metric in ("latency", "energy")}
    metrics = {
        **workload_closed_forms(name, workload),
        **{f"{metric}.{name}": _measured(metric, workload) for metric in WORKLOAD_DEVICE_METRICS},
        f"perplexity.{name}": Metric(
            "",
            "expensive",
            fidelity_dependent=True,
            meaning="held-out documents of your text, by token, after a training from scratch, "
            f"with weights in {workload.precision}",
        ),
    }
    if workload.generate == 1:
        del metrics[f"tpot.{name}"]
    return metrics


def workload_closed_forms(
    name: str, workload: Workload, *, precision_is_chosen: bool = False
) -> dict[str, Metric]:
    """Return the metrics of one workload that need no measurement; none of a forward pass.

    Parameters
    ----------
    name
        Name of the workload.
    workload
        What is asked for.
    precision_is_chosen
        Whether networks have precisions of their own, which override the workload's.

    Examples
    --------
    >>> metrics = workload_closed_forms("chat", Workload(prompt=512, generate=256, batch=1))
    >>> metrics["kv_cache.chat"].meaning
    'keys and values of 1 sequence of 768 tokens, in bfloat16; exact'
    """
    if workload.generate == 0:
        return {}
    is_quantized = workload.precision in QUANTIZED and not precision_is_chosen
    precision = "the precision of each network" if precision_is_chosen else workload.precision
    cache_precision = "bfloat16" if is_quantized else precision
    sequences = f"{workload.batch:,} sequence" + ("s" if workload.batch > 1 else "")
    meanings = {
        "kv_cache": f"keys and values of {sequences} of {workload.positions:,} tokens, in "
        f"{cache_precision}; exact",
        "weight_memory": f"all weights and buffers in {precision}"
        + (", embedding and output layer in bfloat16" if is_quantized else "")
        + "; exact",
    }
    return {
        f"{metric}.{name}": Metric(UNITS[metric], "free", meaning=meanings[metric])
        for metric in CLOSED_FORMS
    }


def any_workload_metrics() -> dict[str, Metric]:
    """Return the metrics of workloads for a listing, without the numbers of any workload.

    Examples
    --------
    >>> metrics = any_workload_metrics()
    >>> metrics["tpot.WORKLOAD@DEVICE"].meaning
    'time per output token: mean decoding step of the whole batch'
    """
    metrics = {}
    for key, metric in workload_metrics("WORKLOAD", BUILT_IN["serve"]).items():
        name = key.partition(".")[0]
        key += "@DEVICE" if name in WORKLOAD_DEVICE_METRICS else ""
        metrics[key] = replace(metric, meaning=_QUANTITIES[name])
    return metrics


def _measured(metric: str, workload: Workload) -> Metric:
    """Return a metric of a workload that is measured on a device."""
    meaning = f"{_QUANTITIES[metric]}; {workload.meaning}"
    return Metric(UNITS[metric], "cheap", quantiles=metric in _REPEATED, meaning=meaning)
