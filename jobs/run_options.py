"""The options of a run: what `tokenize` does, `plan` foresees and `submit` sends to a cluster."""

from dataclasses import KW_ONLY, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.options import Output, StorageOptions, flags
from pipeline.corpus.rules import ReadRules
from pipeline.errors import UsageError
from pipeline.fleet.ray.options import RayOptions
from pipeline.worker.codec_request import CodecRequest

if TYPE_CHECKING:
    from pipeline.worker.settings import Tuning

_RUN = Parameter(group="Run")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that a command line or its `--config` says about a run.

    Attributes:
        inputs: paths, URLs, globs, `{a..b}` ranges, folders or @LIST; last the output folder.
        output: the output folder, set here or in `--config`; all paths are then inputs.
        config: a YAML file with any of these options; a flag on the command line wins.
        max_shards: take only the first N shards.
        engine: `ray` uses all workers of a cluster or of this machine, `inline` this process.
        decode_threads: threads that decode audio; 0: one fewer than there are cores.
        tuning: a file that `xytok bench --save-tuning` wrote: the fastest settings here.
        redo_changed: do shards again that were replaced since they were done.
        allow_damaged: exit with 0 although shards are damaged.
        wait_for_output: wait while another run works in the output; else the command ends then.
        max_reject_rate: fail when more than this share of the clips are rejects; a run stops early
            once it has seen 200 clips.
        webhook: send a small JSON to this URL when the run ends, fails or stands still; `@FILE`
            with the URL keeps it out of `ps`.
    """

    inputs: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    _: KW_ONLY
    output: Annotated[str | None, Output] = None
    config: Path | None = None
    codec: Annotated[CodecRequest, flags("Codec")]
    rules: Annotated[ReadRules, flags("What becomes a row", "decoder")] = ReadRules()
    max_shards: Annotated[Annotated[int, Field(ge=1)] | None, _RUN] = None
    engine: Annotated[Literal["ray", "inline"], _RUN] = "ray"
    decode_threads: Annotated[Annotated[int, Field(ge=0)], _RUN] = 0
    tuning: Annotated[Path | None, _RUN] = None
    storage_options: Annotated[StorageOptions, _RUN] = None
    redo_changed: Annotated[bool, _RUN] = False
    allow_damaged: Annotated[bool, _RUN] = False
    wait_for_output: Annotated[bool, _RUN] = False
    max_reject_rate: Annotated[Annotated[float, Field(ge=0, le=1)], _RUN] = 0.5
    webhook: Annotated[Annotated[str | None, Field(repr=False)], _RUN] = None
    ray: Annotated[RayOptions, flags("Ray", "load_minutes")] = RayOptions()

    def paths(self) -> tuple[tuple[str, ...], str]:
        """The inputs and the output."""
        inputs = self.inputs if self.output else self.inputs[:-1]
        if not inputs:
            given = f"Only `{self.inputs[0]}` is given" if self.inputs else "No paths are given"
            raise UsageError(
                f"{given}; expected inputs and then the output folder; "
                "write for example `xytok tokenize 'shards/*.tar' out`"
            )
        return inputs, self.output or self.inputs[-1]

    def find_tuning(self) -> "Tuning":
        """Threads and queues: as given, else by `--tuning`."""
        from pipeline.bench.tuning_profile import read_profile
        from pipeline.worker.settings import Tuning

        if self.tuning is None:
            return Tuning(decode_threads=self.decode_threads)
        profile = read_profile(self.tuning)
        return Tuning(
            decode_threads=self.decode_threads or profile.decode_threads,
            ahead_seconds=profile.ahead_seconds,
            packs_in_flight=profile.buffers_in_flight,
        )


def check_engine(engine: str, ray: RayOptions) -> None:
    """Refuse options that the inline engine would ignore."""
    plain = RayOptions()
    # Both engines drain and pause.
    both = ("drain_seconds", "outage_minutes")
    names = [each.name for each in fields(RayOptions) if each.name not in both]
    changed = [name for name in names if getattr(ray, name) != getattr(plain, name)]
    if engine == "inline" and changed:
        flags_given = ", ".join(f"`--{name.replace('_', '-')}`" for name in changed)
        raise UsageError(
            f"`--engine inline` cannot use {flags_given}; expected `--engine ray` with "
            f"{'it' if len(changed) == 1 else 'them'}; leave one or the other out"
        )


Options = Annotated[RunOptions, Parameter(name="*")]
