"""Options that verbs share, and the configuration that follows from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from vmafarm.cli.completion import run_names, set_names
from vmafarm.cli.help import at_least
from vmafarm.cli.settings import load_config
from vmafarm.common.steps import showing

if TYPE_CHECKING:
    from vmafarm.config.sections import Config

Update = Annotated[
    bool, typer.Option("--update", help="Take clips that were added or changed, or are gone, since the plan.")
]
Drop = Annotated[bool, typer.Option("--drop", help="With --update: even if over 10% of the clips are gone.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Publish although clips are missing; the table says so.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: see docs/json.md.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file; without it ./vmafarm.toml, if it is yours."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key: --set engine.threads=2. Repeatable."),
]
_RUN = typer.Option("--run", metavar="NAME", autocompletion=run_names, help="Name of the run (run.name).")
RunName = Annotated[str | None, _RUN]


def _number_or_word(value: str | None) -> int | str | None:
    """What a key takes that may be a number or a word."""
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < _DIGITS else value


_DIGITS = 20

_SETS = {
    "clips": (
        "corpus__clips", str,
        typer.Option(metavar="FOLDER", help="The clips, or a SquashFS image of them (corpus.clips)."),
    ),
    "scores": (
        "corpus__scores", str, typer.Option(metavar="FILE", help="The label file (corpus.scores).")
    ),
    "name": ("run__name", str, _RUN),
    "limit": (
        "run__sample", int,
        typer.Option(
            metavar="N", callback=at_least(1),
            help="Score and publish a reproducible sample of N clips of the run (run.sample).",
        ),
    ),
    "identity": (
        "corpus__identity", bool,
        typer.Option("--identity", help="Go on although the clips look like encodings of references."),
    ),
    "max_failed_share": (
        "merge__max_failed_share", float,
        typer.Option(
            metavar="SHARE",
            help="Share of clips that may have failed for good, 0 to 1 (merge.max_failed_share).",
        ),
    ),
    "on_conflict": (
        "merge__on_conflict", str,
        typer.Option(
            metavar="fail|latest", autocompletion=lambda: ["fail", "latest"],
            help="What to do if rows of a clip disagree (merge.on_conflict).",
        ),
    ),
    "plan": (
        "engine__plan", str,
        typer.Option(
            metavar="full|identity", autocompletion=lambda: ["full", "identity"],
            help="Run all extractors, or fill in what is known on an identity pair (engine.plan).",
        ),
    ),
    "features": (
        "engine__features", str,
        typer.Option(
            metavar="SET|FILE", autocompletion=set_names,
            help="What is measured: a set that vmafarm features lists, or a TOML file (engine.features).",
        ),
    ),
    "frames": (
        "engine__frames", bool,
        typer.Option("--frames", help="Keep each frame's value of every measured feature (engine.frames)."),
    ),
    "workers": (
        "extract__workers", str,
        typer.Option(
            metavar="N|auto", callback=_number_or_word,
            help="Clips scored at once; auto: by the processors (extract.workers).",
        ),
    ),
}  # fmt: skip
"""Parameters that set a key of the configuration, with its type and its option."""
CORPUS = ("clips", "scores", "name", "limit", "identity")


Wanted = Literal["any", "one", "new", ""]
"""Which run a verb takes if none is named: the only or the newest one; the only one; a new one, which is
named after its clips; "": the verb decides."""


def configured(*names: str, wanted: Wanted = "any") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb its configuration as the first argument, and the options that make it.

    Parameters
    ----------
    *names
        Of `_SETS`, after --config and --set. A verb with a parameter of that name is given the value, too.
    wanted
        Which run it takes if none is named.
    """
    hints: dict[str, Any] = {"config_file": ConfigFile, "overrides": Settings}
    for name in names:
        _, kind, option = _SETS[name]
        hints[name] = Annotated[kind | None, option]
    shared = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hints[name]) for name in hints]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        _, *own = signature(verb).parameters.values()
        annotations = get_type_hints(verb, localns={"Config": object}, include_extras=True)

        @wraps(verb)
        def run(**given: Any) -> None:
            values = {_SETS[name][0]: given[name] for name in names}
            config = load_config(given["config_file"], given["overrides"], **values)
            with showing(not given.get("as_json")):
                verb(
                    _with_run(config, wanted), **{parameter.name: given[parameter.name] for parameter in own}
                )

        options = shared + [
            parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=annotations[parameter.name])
            for parameter in own
            if parameter.name not in names
        ]
        run.__signature__ = Signature(options)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in options}
        return run

    return decorate


def _with_run(config: Config, wanted: Wanted) -> Config:
    from vmafarm.common.say import say_aside
    from vmafarm.corpus.named_run import with_new_name, with_planned

    if not wanted:
        return config
    return (
        with_new_name(config) if wanted == "new" else with_planned(config, say_aside, alone=wanted == "one")
    )
