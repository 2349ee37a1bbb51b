"""Tables of transfer: what a front that was found for one device loses on another."""

from __future__ import annotations

from typing import Any

from hwnas.reports.comparison.export import markdown_table
from hwnas.surrogates.transfer import Transfer

_TIMES = ("latency", "ttft", "tpot")
_CORNER = "found for, by % of"


def tidy_table(result: Transfer) -> tuple[list[str], list[list[Any]]]:
    """Return a row for each pair of metrics, with the losses as shares.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.surrogates.transfer import transfer
    >>> result = transfer(hwnas.surrogate("gpt-s"), ["latency@h100", "latency@a100"])
    >>> tidy_table(result)[1][0]
    ['latency@h100', 'latency@h100', 0.0, 0.0, 0.0, 1152]
    """
    header = [
        "found_for",
        "judged_by",
        "hypervolume_lost",
        "excess_mean",
        "excess_worst",
        "members",
    ]
    rows: list[list[Any]] = []
    for metric, losses, members in zip(result.metrics, result.losses, result.members, strict=True):
        for judge, loss in zip(result.metrics, losses, strict=True):
            values = [loss.hypervolume, loss.mean, loss.worst, members]
            rows.append([str(metric), str(judge), *values])
    return header, rows


def matrix_tables(result: Transfer) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return matrices of percentages by title: hypervolume lost, mean and worst excess."""
    labels = labels_of(result)
    excess = excess_title(result)
    titles = {
        "hypervolume": "hypervolume lost",
        "mean": f"{excess}, mean over the front",
        "worst": f"{excess}, worst member",
    }
    tables = {}
    for name, title in titles.items():
        rows = [
            [label, *("-" if i == j else f"{100 * value:.2f}" for j, value in enumerate(row))]
            for i, (label, row) in enumerate(zip(labels, result.matrix(name).tolist(), strict=True))
        ]
        tables[f"{title}, %"] = ([_CORNER, *labels], rows)
    return tables


def markdown(result: Transfer) -> str:
    """Return the matrices as Markdown, with a heading and the notes."""
    parts = [heading(result)]
    for title, (header, rows) in matrix_tables(result).items():
        parts += [f"**{title}**", markdown_table(header, rows)]
    return "\n\n".join([*parts, *result.notes])


def heading(result: Transfer) -> str:
    """Return the space, the objectives and how exact the fronts are, in one line.

    Examples
    --------
    >>> import hwnas
    >>> from hwnas.surrogates.transfer import transfer
    >>> heading(transfer(hwnas.surrogate("gpt-s"), ["latency@h100", "latency@a100"]))
    'gpt-s: exact fronts of perplexity and latency'
    """
    from hwnas.fronts import exactness

    quantity = shared_quantity(result) or "each metric"
    exact = exactness(result.epsilon).replace("front", "fronts", 1)
    return f"{result.space}: {exact} of {result.against} and {quantity}"


def labels_of(result: Transfer) -> list[str]:
    """Return the names of the metrics; of devices alone if all are of one metric."""
    if shared_quantity(result):
        suffixes = [str(metric).partition("@")[2] for metric in result.metrics]
        return suffixes
    return [str(metric) for metric in result.metrics]


def shared_quantity(result: Transfer) -> str:
    """Return metric and workload that all metrics have in common; empty where they differ."""
    names = {str(metric).partition("@")[0] for metric in result.metrics}
    return names.pop() if len(names) == 1 else ""


def excess_title(result: Transfer) -> str:
    """Return what the excess of the metrics is, in words."""
    is_time = all(metric.metric in _TIMES for metric in result.metrics)
    return f"{'slower' if is_time else 'worse'} at equal {result.against.quantity}"
