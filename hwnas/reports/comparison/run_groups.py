"""Groups of runs that can be compared: one problem, judged on one scale."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from hwnas.runner.reference_point import Reference
from hwnas.runner.results import Result
from hwnas.workloads import parse_workloads


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs of one problem.

    Attributes
    ----------
    name
        Name of the problem, with the labels of the runs where two groups have the same name.
    results
        The runs, at least one.
    labels
        A distinct label for each run.
    notes
        Remarks on how the group was formed, one line each.
    """

    name: str
    results: tuple[Result, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def group_runs(results: Sequence[Result]) -> list[RunGroup]:
    """Group runs by problem and scale, in the order of their first runs."""
    # Runs are in one group if their problem and the scale of their indicators are the same.
    labels = _run_labels(results)
    indices: dict[Hashable, list[int]] = {}
    for i, result in enumerate(results):
        indices.setdefault((*_problem_key(result), *_scale_key(result)), []).append(i)
    # Groups with the same name differ in what the name does not show: tell them apart by labels.
    name_counts = Counter(_problem_name(results[members[0]]) for members in indices.values())
    firsts = [results[members[0]] for members in indices.values()]
    groups = []
    for members in indices.values():
        runs, own_labels = [results[i] for i in members], [labels[i] for i in members]
        name = _problem_name(runs[0])
        notes: list[str] = []
        if name_counts[name] > 1:
            notes += _separation_notes(runs[0], firsts)
            name = f"{name} ({', '.join(own_labels)})"
        # A reference point of the user makes hypervolumes comparable, but not the scale of the
        # other indicators if it was measured anew in each run.
        if (
            len(runs) > 1
            and _has_user_point(runs[0].reference)
            and len(set(map(_extent, runs))) > 1
        ):
            notes.append(f"all indicators but hypervolumes are on the scale of {own_labels[0]}")
        notes += _start_notes(runs, own_labels)
        groups.append(RunGroup(name, tuple(runs), tuple(own_labels), tuple(notes)))
    return groups


def _run_labels(results: Sequence[Result]) -> list[str]:
    """Return distinct labels: names of experiments, else names of directories, else paths."""
    for names in (
        [result.experiment.name for result in results],
        [result.path.resolve().name for result in results],
    ):
        if len(set(names)) == len(names):
            return names
    return [str(result.path) for result in results]


def _problem_key(result: Result) -> tuple[str, ...]:
    """Return all settings that define the problem of a run, except for its scale."""
    experiment = result.experiment
    return (
        json.dumps(experiment.space, sort_keys=True),
        json.dumps(experiment.backend.model_dump(), sort_keys=True),
        *map(str, result.objectives),
        *sorted(map(str, result.constraints)),
        *_workloads(result),
        str(experiment.noise),
        # Version of the data behind the backend; other data is another problem.
        result.searches[0].meta.get("data", ""),
        result.reference.source,
    )


def _workloads(result: Result) -> list[str]:
    """Return the workloads of a run's objectives and constraints: two may have one name."""
    workloads = parse_workloads(result.experiment.workloads)
    named = {o.workload for o in (*result.objectives, *result.constraints) if o.workload}
    return [f"{name}: {workloads.get(name)}" for name in sorted(named)]


def _scale_key(result: Result) -> tuple[str, ...]:
    """Return the reference of a run, rounded: last digits may differ between machines."""
    reference = result.reference
    # A point of the user is the whole scale, as far as hypervolumes are concerned.
    point = tuple(f"{x:.9g}" for x in reference.point)
    return point if _has_user_point(reference) else (*point, *_extent(result))


def _extent(result: Result) -> tuple[str, ...]:
    """Return the ideal and the nadir of a run's reference, rounded."""
    return tuple(f"{x:.9g}" for x in (*result.reference.ideal, *result.reference.nadir))


def _has_user_point(reference: Reference) -> bool:
    """Return whether the user set the reference point, so that measured scales may differ."""
    return reference.source == "given" and reference.best is None


def _separation_notes(result: Result, firsts: Sequence[Result]) -> list[str]:
    """Return a note if a run differs from another group only in its measured reference.

    Parameters
    ----------
    result
        First run of its group.
    firsts
        First runs of all groups.
    """
    same_problem = [first for first in firsts if _problem_key(first) == _problem_key(result)]
    if len(same_problem) < 2 or result.reference.source != "measured":
        return []
    return [
        "stands apart from the same problem in another run, because the measured references "
        "differ; give both the same 'reference:' to compare them"
    ]


def _start_notes(results: Sequence[Result], labels: Sequence[str]) -> list[str]:
    """Return a note on what the searches of a group began with; none without a shared start."""
    numbers = [(result.experiment.initial or {}).get("shared", 0) for result in results]
    if len(set(numbers)) == 1:
        n = numbers[0]
        text = f"all searches of a seed began with the same {n} random architectures"
        return [text] if n else []
    texts = [f"{n} shared architectures" if n else "designs of their own" for n in numbers]
    starts = "; ".join(f"{label} with {text}" for label, text in zip(labels, texts, strict=True))
    return [f"searches did not begin alike: {starts}"]


def _problem_name(result: Result) -> str:
    """Return objectives, space, constraints and backend of a run as a title."""
    experiment = result.experiment
    # What is no plain value is too long for a title; so is the folder of a function.
    settings = "".join(
        f", {key} {value}"
        for key, value in experiment.backend.settings.items()
        if isinstance(value, str | int | float) and key != "folder"
    )
    backend = experiment.backend.type + settings
    parts = [
        f"{', '.join(map(str, result.objectives))} on {result.space.name}",
        *map(str, result.constraints),
        # Name only what differs from the default, so that names stay short.
        *([backend] if backend != "surrogate" else []),
        *(["with noise"] if experiment.noise else []),
    ]
    return "; ".join(parts)
