"""`--config FILE`: the options of a run from YAML, put before the flags, so that flags win."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.tokenize_options import add_tokenize_options
from pipeline.errors import UsageError


def expand_config(words: Sequence[str]) -> list[str]:
    """The words of a command line with the options of `--config FILE` in its place."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    found, rest = parser.parse_known_args(words)
    return rest if found.config is None else [*_config_words(found.config), *rest]


def _config_words(file: str) -> list[str]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_tokenize_options(parser)
    known = {flag for action in parser._actions for flag in action.option_strings}
    options = {f"--{str(name).replace('_', '-')}": value for name, value in _read(file).items()}
    unknown = sorted(name[2:] for name in set(options) - (known - {"--config"}))
    if unknown:
        raise UsageError(
            f"`--config {file}` has unknown options {', '.join(unknown)}; expected names of "
            "flags without dashes; see `xytok tokenize -h`"
        )
    return [word for flag, value in options.items() for word in _words(flag, value)]


def _words(flag: str, value: object) -> list[str]:
    if value is None or value is False:
        return []
    return [flag] if value is True else [f"{flag}={value}"]


def _read(file: str) -> dict[Any, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"`--config {file}` cannot be read ({type(error).__name__}); expected a YAML "
            "mapping of option names; check the file"
        ) from error
    if values is not None and not isinstance(values, dict):
        raise UsageError(
            f"`--config {file}` holds a {type(values).__name__}; expected a YAML mapping of "
            "option names, e.g. `limit: 20`; correct the file"
        )
    return values or {}
