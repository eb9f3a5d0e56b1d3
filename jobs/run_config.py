"""`--config FILE`: any option of a verb from YAML; flags on the command line win over it."""

from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict


def apply_config(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in what `--config` says and no flag does; cyclopts calls this after reading flags."""
    from pipeline.errors import UsageError
    from xy_codec.validation import nearest

    chosen = [token for each in arguments if each.name == "--config" for token in each.tokens]
    if not chosen:
        return
    file = chosen[0].value
    values = {str(name).replace("_", "-"): value for name, value in _read(file).items()}
    known = {name[2:] for each in arguments for name in each.names if name.startswith("--")}
    unknown = sorted(set(values) - (known - {"config"}))
    if unknown:
        lines = [f"`{name}` is no option; expected {nearest(name, known)}" for name in unknown]
        raise UsageError(
            f"`--config {file}` has {'; '.join(lines)}; names are those of flags, without dashes "
            f"in front; see `xytok {' '.join(commands)} -h`"
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
            f"`--config {file}` cannot be read ({type(error).__name__}); expected a YAML "
            "mapping of option names; check the file"
        ) from error
    if values is not None and not isinstance(values, dict):
        raise UsageError(
            f"`--config {file}` holds a {type(values).__name__}; expected a YAML mapping of "
            "option names, e.g. `limit: 20`; correct the file"
        )
    return values or {}
