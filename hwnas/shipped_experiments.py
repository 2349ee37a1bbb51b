"""Experiments that come with hwnas, by name."""

from __future__ import annotations

from pathlib import Path


def shipped_experiments() -> dict[str, Path]:
    """Return the files of the experiments that come with hwnas, by path without suffix, sorted.

    Examples
    --------
    >>> sorted(shipped_experiments())[:2]
    ['hardware/cpu-tiny', 'hardware/gpu']
    """
    from importlib.resources import files

    try:
        folder = Path(str(files("hwnas_experiments")))
    except ModuleNotFoundError:
        return {}
    named_files = (
        (file.relative_to(folder).with_suffix(""), file) for file in folder.rglob("*.yaml")
    )
    return {name.as_posix(): file for name, file in sorted(named_files)}


def shipped_experiment(name: str) -> Path | None:
    """Return the file of an experiment that comes with hwnas; ``None`` where there is none.

    Parameters
    ----------
    name
        Path without suffix, such as ``quickstart`` or ``hardware/gpu``, or its last part alone
        where only one experiment has it.
    """
    shipped = shipped_experiments()
    if name in shipped:
        return shipped[name]
    matches = [file for path, file in shipped.items() if path.rpartition("/")[2] == name]
    return matches[0] if len(matches) == 1 else None
