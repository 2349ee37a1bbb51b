"""Metrics of the profile backend, declared where they can be listed without importing torch."""

from __future__ import annotations

from hwnas.objectives import Metric

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
