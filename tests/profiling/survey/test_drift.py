from __future__ import annotations

import math

import pytest

from hwnas.profiling.survey.drift import describe_row, summarize


def row(role: str, value: str, seconds: str = "6.000", reason: str = "") -> dict[str, str]:
    status = "failed" if reason else "ok"
    arch = "tiny-1-16-2-2-True"
    return {"role": role, "arch": arch, "latency@cpu": value, "seconds": seconds} | {
        "status": status,
        "reason": reason,
    }


def test_summary() -> None:
    rows = [row("anchor", "2.0"), row("design", "9.0"), row("anchor", "2.3"), row("anchor", "1.9")]
    rows += [row("design", "", "18.0", "no memory")]
    summary = summarize(rows, {"latency@cpu": "ms"})
    assert (summary.measured, summary.failed, summary.per_minute) == (1, 1, 7.142857142857143)
    (drift,) = summary.drifts
    assert (drift.count, drift.minimum, drift.maximum) == (3, 1.9, 2.3)
    assert drift.spread == pytest.approx(20)
    assert summary.table()[1] == [["latency@cpu", "ms", "3", "1.9", "2.3", "20.00"]]
    assert str(summary) == "1 architectures measured, 1 failed, 7.14 per minute"
    assert math.isnan(summarize([], {}).per_minute)


def test_description_of_a_row() -> None:
    units = {"latency@cpu": "ms", "energy@cpu": "mWh"}
    assert (
        describe_row(row("anchor", "2.03456"), units)
        == "1 layers of 16: latency@cpu 2.035 ms, 6.0 s"
    )
    assert (
        describe_row(row("design", "", "1", "no memory"), units)
        == "1 layers of 16: no memory, 1.0 s"
    )
