"""Search spaces by name, from the choices in a YAML, or from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import InvalidInput, UnknownName, describe_value
from hwnas.spaces.gpt import GPT_CHOICES, GPT_SPACES
from hwnas.spaces.search_space import SearchSpace


def space(source: str | Mapping[str, Any]) -> SearchSpace:
    """Return a search space by its name, or from the choices in a YAML.

    Parameters
    ----------
    source
        ``"gpt-s"`` and the other named spaces, or a mapping with the parameters of `SearchSpace`.

    Raises
    ------
    UnknownName
        No space has that name, or `SearchSpace` no such parameter.
    InvalidInput
        The choices do not define a space.

    Examples
    --------
    >>> space("gpt-s").n_layer
    (10, 11, 12)
    """
    if isinstance(source, str):
        if source not in GPT_SPACES:
            raise UnknownName("space", source, GPT_SPACES)
        embed_dim, n_layer, mlp_ratio, n_head = GPT_CHOICES[source]
        return SearchSpace(
            source, embed_dim=embed_dim, n_layer=n_layer, mlp_ratio=mlp_ratio, n_head=n_head
        )
    if not isinstance(source, Mapping):
        raise InvalidInput(
            f"expected the name of a space or its choices as keys and values, found "
            f"{describe_value(source)}"
        )
    # A misspelled key gets a suggestion, which the constructor could not make.
    settings = dict(source)
    required = ("name", "embed_dim", "n_layer", "mlp_ratio", "n_head")
    allowed = (*required, "bias", "head_size", "context", "vocab_size")
    for key in settings:
        if key not in allowed:
            raise UnknownName("key of a space", str(key), allowed)
    if missing := [key for key in required if key not in settings]:
        raise InvalidInput(f"a space needs {', '.join(required)}; missing: {', '.join(missing)}")
    return SearchSpace(**settings)


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
        place = (
            "space" if is_experiment else "expected a space, or an experiment with the key space"
        )
        raise InvalidInput(f"{source}: {place}: {error}") from None
