"""Experiments that come with hwnas, by name."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import InvalidInput, describe_value, similar_names

_MAX_NAME = 100  # characters of a name that may be a misspelling


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


def experiment_file(source: object) -> Path:
    """Return the file of an experiment by its path, or by the name of one that comes with hwnas.

    Raises
    ------
    InvalidInput
        There is none; a similar name is suggested.

    Examples
    --------
    >>> experiment_file("quikstart")
    Traceback (most recent call last):
    hwnas.errors.InvalidInput: quikstart: no such file; did you mean the experiment 'quickstart'?
    """
    if not isinstance(source, str | Path):
        raise InvalidInput(
            "expected a YAML file, the name of an experiment, or its keys and values, found "
            f"{describe_value(source)}"
        )
    name = str(source)
    path = shipped_experiment(name) or Path(source)
    if path.exists():
        return path
    shipped = shipped_experiments()
    similar = similar_names(Path(name).stem, shipped) if len(name) <= _MAX_NAME else []
    hint = f"experiments of hwnas: {', '.join(shipped)}"
    if similar:
        hint = f"did you mean the experiment {' or '.join(map(repr, similar))}?"
    raise InvalidInput(f"{name}: no such file; {hint}")
