"""`--storage-options @FILE`: endpoints and credentials from a file, never from the command line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError

# The key under which options without a protocol are kept: they go to every remote URL.
ANY_PROTOCOL = ""
_PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "http", "https", "hf")


def read_storage_options(argument: str | None) -> dict[str, Mapping[str, Any]]:
    """The options by protocol; `argument` is `@FILE` with JSON or YAML, flat or by protocol."""
    if argument is None:
        return {}
    check_storage_argument(argument)
    options = _parse(Path(argument[1:]).expanduser())
    if options and all(name in _PROTOCOLS and isinstance(v, dict) for name, v in options.items()):
        return dict(options)
    return {ANY_PROTOCOL: options}


def check_storage_argument(argument: str) -> None:
    """Refuse a literal value, which may be a secret."""
    if not argument.startswith("@"):
        raise UsageError(
            "`--storage-options` got its value on the command line, where it shows in `ps`, in the "
            "dashboard and in the job API; expected `@FILE`; write the options as JSON or YAML "
            "into a file that only you can read, and pass `--storage-options @FILE`"
        )


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Storage options `{path}` cannot be read ({type(error).__name__}); expected a JSON or "
            "YAML file; check the path and its permissions"
        ) from error
    options = _load(text, path)
    if not isinstance(options, dict):
        raise UsageError(
            f"Storage options `{path}` hold a {type(options).__name__}; expected a mapping such as "
            '`{"endpoint_url": "…"}`, or one mapping per protocol; correct the file'
        )
    return options


def _load(text: str, path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise _unreadable(path) from error
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> UsageError:
    # The parser's own message would quote the line, and the line may be a secret.
    return UsageError(
        f"Storage options `{path}` are not valid JSON or YAML; expected a mapping; correct the file"
    )
