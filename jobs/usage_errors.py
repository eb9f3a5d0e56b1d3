"""A wrong command line in words: the value that is wrong, what was expected, and what to do."""

from collections.abc import Iterable
from dataclasses import fields
from typing import get_args

import pydantic
from cyclopts import App, Argument, Token
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from jobs.logs import LogOptions
from xy_codec.nearest_name import nearest
from xy_codec.validation import Fault, faults

# What other tools, and xytok before its first release, call a flag.
_OTHER_WORDS = {
    "--address": ("--cluster",),
    "--clips": ("--inputs",),
    "--config": ("--recipe", "--codec-config"),
    "--gpu-speed": ("--speed",),
    "--gpus": ("--workers",),
    "--max-member-mb": ("--max-member-bytes",),
    "--out": ("--output",),
    "--overlap": ("--codec-option",),
    "--overlap-seconds": ("--codec-option",),
    "--codebooks": ("--codec-option",),
    "--depth": ("--codec-option",),
    "--profile": ("--tuning", "--save-tuning"),
    "--report": ("--output",),
    "--save": ("--output",),
    "--shards": ("--shard",),
    "--threads": ("--torch-threads",),
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_LOG = {f"--{each.name.replace('_', '-')}" for each in fields(LogOptions)}
# What is missing and has no help text of its own beside the flag.
_NEEDED = {
    "--codec": "a released checkpoint; name one, e.g. `--codec fdugyt/XY_Tokenizer`, or "
    "`--codec xy-nano` for a trial"
}


def explain(error: CycloptsError, verbs: Iterable[str]) -> str:
    """The message for a command line that cannot be understood."""
    see = f"see `xytok {' '.join([*(error.command_chain or ()), '-h'])}`"
    words = error.unused_tokens or []
    if isinstance(error, UnknownCommandError):
        return f"`{words[0]}` is no command; expected {nearest(words[0], verbs)}; {see}"
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    if isinstance(error, UnknownOptionError):
        flags = [error.token.keyword or error.token.value]
    arguments = _arguments(error.app)
    known = {name for each in arguments for name in each.names}
    # The flags that every verb has, and short or negative forms, would hide the verb's own.
    own = {each.name for each in arguments if each.name.startswith("--") and each.name not in _LOG}
    # An unknown flag explains why another is missing, so it is told first.
    for flag in flags:
        if flag not in known:
            others = [name for name in _OTHER_WORDS.get(flag, ()) if name in known]
            wanted = f"`{others[0]}`" if others else nearest(flag, own, known - {"*"})
            return f"`{flag}` is no option; expected {wanted}; {see}"
    match error:
        case MissingArgumentError(argument=Argument() as argument):
            needed = [each for each in _leaves(argument) if each.required] or [argument]
            name = needed[0].name
            wanted = _NEEDED.get(name) or needed[0].parameter.help or "a value"
            fault = "has no value" if error.keyword else "is missing"
            return f"`{name}` {fault}; expected {wanted.rstrip('.')}; {see}"
        case CoercionError(argument=Argument() as argument, token=Token() as token):
            choices = " or ".join(f"`{choice}`" for choice in get_args(error.target_type))
            kind = getattr(error.target_type, "__name__", str(error.target_type))
            wanted = choices or _KINDS.get(kind, kind)
            return f"`{argument.name} {token.value}`; expected {wanted}; {see}"
        case UnusedCliTokensError():
            return f"`{' '.join(words)}` is more than expected; quote what holds spaces; {see}"
        case ValidationError():
            lines = _validation_lines(error)
            if len(lines) == 1:
                return f"{lines[0]}; {see}"
            return "\n".join(["Some options cannot be used:", *lines, see])
        case _:
            return f"{error}; {see}"


def _arguments(app: App | None) -> list[Argument]:
    arguments = app.assemble_argument_collection(parse_docstring=False) if app else ()
    return [each for each in arguments if each.parse]


def _leaves(argument: Argument) -> list[Argument]:
    return [each for each in (argument, *argument.children_recursive) if not each.children]


def _validation_lines(error: ValidationError) -> list[str]:
    if error.argument is None or not isinstance(error.__cause__, pydantic.ValidationError):
        return [str(error)]
    options = {each.keys: each for each in (error.argument, *error.argument.children_recursive)}
    return [_line(fault, options) for fault in faults(error.__cause__, error.argument.hint)]


def _line(fault: Fault, options: dict[tuple[str, ...], Argument]) -> str:
    path = fault.path
    while path not in options:  # the last names may be those of an item in a list
        path = path[:-1]
    option = options[path]
    token = option.tokens[-1]
    source = "" if token.source == "cli" else f" in `{token.source}`"
    wanted = fault.expected.replace("'", "`")
    return fault.sentence or f"`{option.name} {token.value}`{source}; expected {wanted}"
