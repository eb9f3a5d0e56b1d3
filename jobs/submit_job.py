"""`xytok submit`: `xytok tokenize` on a remote Ray cluster, followed to its end."""

from functools import reduce
from typing import Annotated, Any

from cyclopts import App, Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Json
from jobs.run_options import Options, RunOptions


def submit(
    options: Options,
    *,
    pip: Annotated[
        bool, Parameter(help="install the dependencies there; default: its image has them.")
    ] = False,
    wait: Annotated[bool, Parameter(help="follow the job to its end.")] = True,
    env: Annotated[
        tuple[str, ...], Parameter(help="pass this environment variable on (repeatable).")
    ] = (),
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Check the options here, submit, follow the log, and return the run's exit code.

    Ctrl-C ends the following; the job goes on. `xytok logs` and `xytok stop` find it again.
    """
    from pipeline.errors import UsageError
    from pipeline.fleet.ray import submission as jobs_api
    from pipeline.storage.location import check_means_the_same_elsewhere, check_no_secret
    from pipeline.storage.options import check_storage_argument

    inputs, output = options.paths()
    # Before anything shows in the job API.
    check_storage_argument(options.storage_options or "@")
    if not (options.webhook or "@").startswith("@"):
        raise UsageError(
            "`--webhook` got its URL on the command line, which the job API and the dashboard "
            "show; expected `@FILE`; write the URL into a file that lies on the cluster"
        )
    for url in (*inputs, output, *options.codec.urls()):
        check_no_secret(url)
    options.codec.check(may_be_elsewhere=True)
    for url in (*inputs, output):
        check_means_the_same_elsewhere(url.removeprefix("@"))
    if options.engine == "inline":
        raise UsageError(
            "`--engine inline` would use one process of the head; expected `ray`, which uses the "
            "workers of the cluster; leave the option out"
        )
    wanted = {"--json": json, "--quiet": log.quiet, "--verbose": log.verbose}
    told = (flag for flag, is_set in wanted.items() if is_set)
    return jobs_api.submit(
        options.ray.cluster,
        jobs_api.Submission((*words_of(options), *told), pip, env, options.ray.drain_seconds, wait),
        write=lambda text: print(text, end="", flush=True),
    )


def words_of(options: RunOptions) -> list[str]:
    """The command line of `xytok tokenize` that says the same; on the cluster lies no `--config`.

    `--cluster` is left out: there, the run works on the cluster that it was submitted to.
    """
    flags = App()
    flags.default(_tokenize)
    words = list(options.inputs)
    for argument in flags.assemble_argument_collection(parse_docstring=False):
        name = argument.name
        if argument.children or name in ("--inputs", "--config", "--cluster"):
            continue
        value: Any = reduce(getattr, argument.keys, options)
        if value is True or value is False:
            words += [name] if value else []
        elif value != argument.field_info.default:
            words.append(f"{name}={value}")
    return words


def _tokenize(options: Options) -> None:
    """The command line that `words_of` writes."""
