"""`--config FILE`: any option of a verb from YAML; flags on the command line win over it."""

from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict


def apply_config(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what `--config` says and no flag does; cyclopts calls this after reading flags."""
    from pipeline.errors import UsageError
    from xy_codec.nearest_name import nearest

    chosen = [token for each in arguments if each.name == "--config" for token in each.tokens]
    if not chosen:
        return
    file = chosen[0].value
    values = {str(name).replace("_", "-"): value for name, value in _read(file).items()}
    known = {name[2:] for each in arguments for name in each.names if name.startswith("--")}
    unknown = sorted(set(values) - (known - {"config"}))
    if unknown:
        lines = [
            f"the unknown option `{name}`; expected {nearest(name, known)}" for name in unknown
        ]
        raise UsageError(
            f"`--config {file}` has {'; '.join(lines)}; names are those of flags, without dashes "
            f"in front; see `xytok {' '.join(commands)} -h`"
        )
    for each in arguments:
        same = [name[2:] for name in each.names if name[2:] in values]
        if len(same) > 1:
            both = " and ".join(f"`{name}`" for name in same)
            raise UsageError(
                f"`--config {file}` has {both}; expected one of them, as they set the same option; "
                "delete the other"
            )
    given = {name: value for name, value in values.items() if value is not None}
    Dict(given, source=file, use_commands_as_keys=False)(app, commands, arguments)


def _read(file: str) -> dict[Any, Any]:
    import yaml

    from pipeline.errors import UsageError

    try:
        values = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"`--config {file}` cannot be read ({_reason(error)}); expected a YAML "
            "mapping of option names; check the file"
        ) from error
    if not isinstance(values, dict):
        held = "nothing" if values is None else f"a {type(values).__name__}"
        raise UsageError(
            f"`--config {file}` holds {held}; expected a YAML mapping of "
            "option names, e.g. `limit: 20`; correct the file"
        )
    return values


def _reason(error: Exception) -> str:
    from yaml import MarkedYAMLError

    match error:
        case FileNotFoundError():
            return "it does not exist"
        case OSError():
            return str(error.strerror)
        case MarkedYAMLError(problem_mark=mark) if mark:
            return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
        case _:
            return str(error)
