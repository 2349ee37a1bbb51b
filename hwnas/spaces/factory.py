"""Search spaces by name, from the choices in a YAML, or from a YAML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, UnknownName, describe_value
from hwnas.spaces.families import family, named_spaces, settings_of_space
from hwnas.spaces.gpt import GPT_SPACES, GPTSpace
from hwnas.spaces.search_space import SearchSpace

_GPT_KEYS = ("embed_dim", "n_layer", "mlp_ratio", "n_head")


def space(source: str | Mapping[str, Any]) -> SearchSpace:
    """Return a search space by its name, or from the choices in a YAML.

    Parameters
    ----------
    source
        ``"gpt-s"`` and the other named spaces; or a mapping with the parameters of `GPTSpace`, of
        `SearchSpace`, or of another family and its name as ``family``.

    Raises
    ------
    UnknownName
        No space has that name, no family has, or it has no such parameter.
    InvalidInput
        The choices do not define a space.

    Examples
    --------
    >>> space("gpt-s").n_layer
    (10, 11, 12)
    """
    if isinstance(source, str):
        # Those of GPT need no look at installed packages.
        named: dict[str, type[SearchSpace]] = {name: GPTSpace for name in GPT_SPACES}  # noqa: C420
        if source not in named:
            named |= named_spaces()
        if source not in named:
            reason = ""
            if source.endswith((".yaml", ".yml")):
                reason = "it is the name of a file; expected what the file holds"
            elif os.path.exists(source or "?"):
                reason = "a file of a space ends in .yaml"
            raise UnknownName("space", source, named, reason=reason)
        named_space: SearchSpace = named[source](source, **named[source].named[source])
        return named_space
    if not isinstance(source, Mapping):
        raise InvalidInput(
            f"expected the name of a space or its choices as keys and values, found "
            f"{describe_value(source)}"
        )
    settings = dict(source)
    cls = _class_of(settings)
    # A misspelled key gets a suggestion, which the constructor could not make.
    parameters = settings_of_space(cls)
    for key in settings:
        if key not in ("name", *parameters):
            allowed = ["family", "name", *parameters]
            raise UnknownName("key of a space", str(key), allowed)
    required = ["name", *(k for k, p in parameters.items() if p.default is p.empty)]
    if missing := [key for key in required if key not in settings]:
        raise InvalidInput(f"a space needs {', '.join(required)}; missing: {', '.join(missing)}")
    space: SearchSpace = cls(**settings)
    return space


def _class_of(settings: dict[str, Any]) -> type[Any]:
    """Return the class that settings are of, and remove the key that names it."""
    if "family" in settings:
        name = settings.pop("family")
        if not isinstance(name, str):
            raise InvalidInput(f"family: expected the name of one, found {name!r}")
        return family(name)
    is_gpt = "choices" not in settings and not settings.keys().isdisjoint(_GPT_KEYS)
    return GPTSpace if is_gpt else SearchSpace


def load_space(source: str) -> SearchSpace:
    """Return a search space by its name, or that of a YAML file.

    Parameters
    ----------
    source
        Name of a space; or a file that ends in ``.yaml`` or ``.yml`` and holds either the choices
        of a space or an experiment with the key ``space``.

    Raises
    ------
    UnknownName
        No space has that name.
    InvalidInput
        The file cannot be read or defines no space; the message begins with its path.

    Examples
    --------
    >>> load_space("gpt-s").name
    'gpt-s'
    """
    if not source.endswith((".yaml", ".yml")):
        return space(source)
    # Spaces that are named need no YAML library.
    from hwnas.yaml_loader import read_yaml

    content = read_yaml(Path(source))
    is_experiment = "space" in content
    try:
        return space(content["space"] if is_experiment else content)
    except InvalidInput as error:
        location = (
            "space" if is_experiment else "expected a space, or an experiment with the key space"
        )
        raise InvalidInput(f"{source}: {location}: {error}") from None
