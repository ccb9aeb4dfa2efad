"""How verbs show their help, and check the numbers of options that set no key of the configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])
Number = TypeVar("Number", int, float)


class Verbs(TyperGroup):
    """The command itself; its flags show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters, as typer shows them."""
        return _in_words(super().get_params(ctx))


class Verb(TyperCommand):
    """A verb; its paragraphs fill the terminal, and its flags and arguments show no Python type."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters, as typer shows them."""
        return _in_words(super().get_params(ctx))


class App(typer.Typer):
    """The verbs, each a `Verb`."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[Function], Function]:
        """Add a verb."""
        return super().command(name, **{"cls": Verb} | more)


def _in_words(parameters: list[Any]) -> list[Any]:
    """The same parameters without Python types; the words for values are where options are (`metavar`)."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument" and hasattr(parameter, "display_type_rich"):
            parameter.display_type_rich = _nothing  # newer versions show it beside the word
    return parameters


def _nothing(ctx: Any) -> None:
    return None


def at_least(lowest: int) -> Callable[[Number | None], Number | None]:
    """Make a callback that refuses smaller numbers; typer's own bounds show as ``[x>=1]`` in the help."""

    def check(value: Number | None) -> Number | None:
        if value is not None and not value >= lowest:
            raise typer.BadParameter(f"{value}: expected {lowest} or more")
        return value

    return check
