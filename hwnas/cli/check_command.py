"""Command that checks optimizers, backends and families of spaces."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import echo, print_table
from hwnas.cli.usage import parse_assignment
from hwnas.errors import InvalidInput

if TYPE_CHECKING:
    from hwnas.registry import Kind as PluginKind


class Kind(StrEnum):
    """Kinds of plugins that the command `check` checks."""

    optimizer = "optimizer"
    backend = "backend"
    space = "space"


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME_OR_FILE", help="A registered name, that of a space, or a file.py."
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="The kind of plugin [every kind that has the name].")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Name of a search space, or a YAML of a space or an experiment [a synthetic space "
            "for optimizers, gpt-s for backends, all named ones of a family]."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the plugin: pop_size=20."),
    ] = None,
) -> None:
    """Run the conformance checks on an optimizer, a backend or a family of spaces.

    For a file, on every class that it registers. The exit code is 2 if a check failed.

    Examples:

    hwnas check random

    hwnas check walk.py
    """
    from hwnas import testing
    from hwnas.spaces import load_space

    settings = dict(map(parse_assignment, set_ or ()))
    if kind in (None, Kind.space) and space is None and (family := _family_of_space(target)):
        target, space, kind = family, target, Kind.space
    if space is not None:
        settings["space"] = load_space(space)
    failures = []
    for plugin_kind, name in _plugins_to_check(target, kind):
        outcomes = list(testing.outcomes(plugin_kind, name, **settings))
        echo(f"{plugin_kind} {name}")
        print_table(["check", "result", "seen"], [[o.check, o.result, o.seen] for o in outcomes])
        failures += [f"{name}: {o.check}: {o.seen}" for o in outcomes if o.result == "failed"]
    # Tables go to standard output; failures are repeated on stderr, where scripts look for them.
    for line in failures:
        echo(f"hwnas: {line}", err=True)
    if failures:
        raise typer.Exit(2)


def _family_of_space(name: str) -> str | None:
    """Return the family that names a space; ``None`` if none does."""
    from hwnas.spaces.families import family, family_names

    return next((f for f in family_names() if name in family(f).named), None)


def _plugins_to_check(target: str, kind: Kind | None) -> list[tuple[PluginKind, str]]:
    """Return kinds and names of the plugins of a file, or with a name."""
    from hwnas.plugin_files import load_plugin_file
    from hwnas.registry import kinds_of

    if target.endswith(".py") or "/" in target:
        plugins = list(load_plugin_file(target).registered)
    elif kind is not None:
        # Raises an error if the name is not registered at all.
        kinds_of(target)
        plugins = [(kind.value, target)]
    else:
        plugins = [(plugin_kind, target) for plugin_kind in kinds_of(target)]
    selected = [plugin for plugin in plugins if kind is None or plugin[0] == kind.value]
    if not selected:
        raise InvalidInput(f"{target}: expected {kind}s, found none")
    return selected
