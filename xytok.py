"""Speech to codec codes and back, from Python.

    import xytok

    run = xytok.tokenize("speech/*.tar", "codes", codec="fdugyt/XY_Tokenizer")  # shards to Parquet
    print("\\n".join(run.status().lines()))                                     # what is done
    audit = run.audit()                                                        # how it sounds

    for clip in xytok.open_dataset("codes"):                                   # codes for training
        print(clip.key, clip.codes.shape)

What a name needs is imported when it is first used: `import xytok` costs nothing, and for
`open_dataset` pyarrow and fsspec are enough. What goes wrong raises one of two families of errors,
whose messages say what is wrong, what was expected and what to do:

    PipelineError    UsageError, InputError, NotFoundError, ChangedError, OutputError,
                     IdentityError, LeaseError, StorageError, RefusedError, UnreachedError,
                     WorkerError, NodeError, DrainedError, RejectRateError,
                     DamageError; all in `pipeline.errors`
    XYCodecError     CheckpointError, CodecNotFoundError, ConfigError, AudioError,
                     CodesError; all in `xy_codec.errors`

Each of them is a name of this module too: `except xytok.DamageError`.

A wrong value in a class of options, such as `ReadRules(limit=0)`, raises
`pydantic.ValidationError`, a ValueError that names every wrong value.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.audit.audit_output import Audit
    from pipeline.audit.sample.sampling import SamplePlan
    from pipeline.corpus.rules import ReadRules
    from pipeline.errors import (
        ChangedError,
        DamageError,
        DrainedError,
        IdentityError,
        InputError,
        LeaseError,
        NodeError,
        NotFoundError,
        OutputError,
        PipelineError,
        RefusedError,
        RejectRateError,
        StorageError,
        UnreachedError,
        UsageError,
        WorkerError,
    )
    from pipeline.export.contract import FormatOptions
    from pipeline.export.record import ExportRecord
    from pipeline.export.selection import Selection
    from pipeline.fleet.ray.options import RayOptions
    from pipeline.fleet.summary import RunSummary
    from pipeline.inspect.status import RunStatus
    from pipeline.inspect.verify import Verification
    from pipeline.read.dataset import Position, open_dataset
    from pipeline.read.delay import delay_codes
    from pipeline.read.torch_dataset import TorchCodes, pad_codes
    from pipeline.storage.client import Storage
    from pipeline.worker.codec_request import CodecRequest
    from pipeline.worker.settings import Tuning
    from xy_codec.errors import (
        AudioError,
        CheckpointError,
        CodecNotFoundError,
        CodesError,
        ConfigError,
        XYCodecError,
    )
    from xy_codec.loading import load_codec

    __version__: str

__all__ = [
    "AudioError",
    "ChangedError",
    "CheckpointError",
    "CodecNotFoundError",
    "CodecRequest",
    "CodesError",
    "ConfigError",
    "DamageError",
    "DrainedError",
    "FormatOptions",
    "IdentityError",
    "InputError",
    "LeaseError",
    "NodeError",
    "NotFoundError",
    "OutputError",
    "PipelineError",
    "Position",
    "RayOptions",
    "ReadRules",
    "RefusedError",
    "RejectRateError",
    "Run",
    "SamplePlan",
    "Selection",
    "Storage",
    "StorageError",
    "TorchCodes",
    "Tuning",
    "UnreachedError",
    "UsageError",
    "WorkerError",
    "XYCodecError",
    "__version__",
    "delay_codes",
    "load_codec",
    "open_dataset",
    "pad_codes",
    "tokenize",
]

_HOMES = {
    "AudioError": "xy_codec.errors",
    "ChangedError": "pipeline.errors",
    "CheckpointError": "xy_codec.errors",
    "CodecNotFoundError": "xy_codec.errors",
    "CodecRequest": "pipeline.worker.codec_request",
    "CodesError": "xy_codec.errors",
    "ConfigError": "xy_codec.errors",
    "DamageError": "pipeline.errors",
    "DrainedError": "pipeline.errors",
    "FormatOptions": "pipeline.export.contract",
    "IdentityError": "pipeline.errors",
    "InputError": "pipeline.errors",
    "LeaseError": "pipeline.errors",
    "NodeError": "pipeline.errors",
    "NotFoundError": "pipeline.errors",
    "OutputError": "pipeline.errors",
    "PipelineError": "pipeline.errors",
    "Position": "pipeline.read.dataset",
    "RayOptions": "pipeline.fleet.ray.options",
    "ReadRules": "pipeline.corpus.rules",
    "RejectRateError": "pipeline.errors",
    "SamplePlan": "pipeline.audit.sample.sampling",
    "Selection": "pipeline.export.selection",
    "Storage": "pipeline.storage.client",
    "RefusedError": "pipeline.errors",
    "StorageError": "pipeline.errors",
    "TorchCodes": "pipeline.read.torch_dataset",
    "Tuning": "pipeline.worker.settings",
    "UnreachedError": "pipeline.errors",
    "UsageError": "pipeline.errors",
    "WorkerError": "pipeline.errors",
    "XYCodecError": "xy_codec.errors",
    "delay_codes": "pipeline.read.delay",
    "load_codec": "xy_codec.loading",
    "open_dataset": "pipeline.read.dataset",
    "pad_codes": "pipeline.read.torch_dataset",
}


if not TYPE_CHECKING:  # a type checker would believe that every name is here

    def __getattr__(name: str) -> Any:
        """Import a name when it is first used."""
        if name == "__version__":
            return import_module("importlib.metadata").version("xytok")
        if name not in _HOMES:
            raise AttributeError(f"module `xytok` has no attribute {name!r}; it has {__all__}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, slots=True)
class Run:
    """A run by its output folder: one that `tokenize` returned, or any that is there.

    Attributes:
        output: The folder or URL.
        storage: Endpoint and credentials; none are needed for local folders.
        summary: What `tokenize` did just now; None for a run that was only opened.

    >>> run = xytok.Run("codes")
    >>> print("\\n".join(run.status().lines()))
    run       ..., codec xy-nano (..., exact)
    shards    1 done, 0 left, 0 failed, 0 damaged
    clips     10 codes, 0 rejects, 0 filtered, 0.023 h of speech
    """

    output: "str | Path"
    storage: "Storage | None" = field(default=None, repr=False)
    summary: "RunSummary | None" = field(default=None, repr=False)

    def status(self) -> "RunStatus":
        """Count what is done, left, failed and rejected, by the files of the output alone.

        >>> xytok.Run("codes").status().is_complete
        True
        """
        from pipeline.inspect.status import read_status

        return read_status(str(self.output), _storage(self.storage))

    def verify(
        self,
        *,
        sources: bool = True,
        clean: bool = False,
        quick: bool = False,
        quiet: bool = False,
    ) -> "Verification":
        """Compare every file of the output with its manifest.

        Args:
            sources: Look also whether the shards are still those that were tokenized.
            clean: Delete what a killed worker left behind; never while a run is at work.
            quick: Compare only names and sizes of files, as listings have them; no source.
            quiet: Show no progress.

        >>> xytok.Run("codes").verify().faults
        ()
        """
        from pipeline.inspect.verify import verify_output

        return verify_output(
            str(self.output),
            _storage(self.storage),
            sources=sources,
            clean=clean,
            quick=quick,
            quiet=quiet,
        )

    def audit(
        self,
        *,
        sample: "SamplePlan | None" = None,
        metrics: Sequence[str] | None = None,
        asr_model: str | None = None,
        shards: Sequence[str] = (),
        codec: str | None = None,
        device: str = "auto",
        baseline: str | None = None,
        codes_only: bool = False,
        folder: str | None = None,
        quiet: bool = False,
    ) -> "Audit":
        """Check every row, encode a sample of the clips again, and measure how their codes sound.

        Args:
            sample: How many clips of each shard; 20 without one.
            metrics: Some of `sim`, `stoi`, `pesq`, `acoustics`, `dnsmos`; all but the last without.
            asr_model: A Whisper of transformers, a folder or a name: adds errors of what is heard.
            shards: Only shards with one of these texts in their paths.
            codec: Where the codec of the run is now; where the run had it without one.
            baseline: A file of `xytok audit --save-baseline` to compare the sound with.
            codes_only: Let only the codes decide; how they sound is shown.
            folder: For the report; below the output without one.

        >>> sample = xytok.SamplePlan(per_shard=8)
        >>> audit = xytok.Run("codes").audit(sample=sample, metrics=["stoi"], codes_only=True)
        >>> audit.judgement.verdict
        'ok'
        >>> audit.folder  # holds `report.html`, to be opened in a browser
        '.../codes/audit/...'
        """
        from pipeline.audit.audit import AuditRequest
        from pipeline.audit.audit_output import audit_output
        from pipeline.audit.judge.baseline import load_baseline
        from pipeline.audit.metrics.scores import check_groups
        from pipeline.audit.sample.sampling import SamplePlan

        storage = _storage(self.storage)
        request = AuditRequest(
            output=str(self.output),
            storage=storage,
            plan=sample or SamplePlan(),
            codec=codec,
            device=device,
            groups=check_groups(None if metrics is None else ",".join(metrics)),
            asr_model=asr_model,
            only=tuple(shards),
            quiet=quiet,
        )
        known = load_baseline(storage, baseline) if baseline else None
        return audit_output(request, baseline=known, codes_only=codes_only, folder=folder)

    def export(
        self,
        folder: "str | Path",
        to: str,
        *,
        selection: "Selection | None" = None,
        options: "FormatOptions | None" = None,
        columns: Sequence[str] = (),
        codebooks: int | None = None,
        shuffle: int | None = None,
        pair_reference: bool = False,
        allow_codec: bool = False,
    ) -> "ExportRecord":
        """Write the codes as the files that a trainer reads; the same call again resumes.

        Args:
            folder: What to write, a path or URL; `export.json` is written last.
            to: The format, as `xytok export -h` lists them.
            selection: Which clips, e.g. `Selection(where="dnsmos >= 3", dedup=True)`.
            options: What the format may be told, e.g. `FormatOptions(layout="TK")`.
            columns: Further columns of the parts, for formats that take some.
            codebooks: Only the first so many.
            shuffle: Mix the clips of all shards by this seed.
            pair_reference: Give each clip another clip of its speaker as a prompt.
            allow_codec: Export codes that the trainer's released models do not know.

        >>> record = xytok.Run("codes").export("italian-lines", "jsonl", columns=["dnsmos"])
        >>> record.clips, [file.path for file in record.files]
        (10, ['train/codes-00000.jsonl'])
        """
        from pipeline.export.contract import FormatOptions
        from pipeline.export.export import run_export
        from pipeline.export.exporter import ExportRequest
        from pipeline.export.selection import Selection

        return run_export(
            ExportRequest(
                output=str(self.output),
                destination=str(folder),
                format=to,
                storage=_storage(self.storage),
                selection=selection or Selection(),
                options=options or FormatOptions(),
                columns=tuple(columns),
                codebooks=codebooks,
                shuffle=shuffle,
                pair_reference=pair_reference,
                allow_codec=allow_codec,
            )
        )


def tokenize(
    inputs: "str | Path | Iterable[str | Path]",
    output: "str | Path",
    *,
    codec: "str | CodecRequest",
    rules: "ReadRules | None" = None,
    storage: "Storage | None" = None,
    engine: Literal["ray", "inline"] = "ray",
    ray: "RayOptions | None" = None,
    tuning: "Tuning | None" = None,
    max_shards: int | None = None,
    max_reject_rate: float = 0.5,
    redo_changed: bool = False,
    allow_damaged: bool = False,
    wait_for_output: bool = False,
    quiet: bool = False,
) -> Run:
    """Turn shards of speech into codes; the same call again does what is left.

    Args:
        inputs: Paths, URLs, globs, `{a..b}` ranges, folders, or `@FILE` with a list of those.
        output: Folder or URL; see the README for what is in it afterwards.
        codec: A name, file, folder, URL or repository id, or a `CodecRequest` with its options.
        rules: What becomes a row, e.g. `ReadRules(where='language == "en"', limit=20)`.
        storage: Endpoint and credentials, e.g. `Storage({"s3": {"anon": True}})`.
        engine: Workers on a Ray cluster, started here if there is none, or this process alone.
        ray: How many workers of what size, and the address of the cluster.
        tuning: Threads and queues; it changes no byte of the output.
        max_shards: Only the first so many.
        max_reject_rate: Stop with `RejectRateError` when more of the clips are rejects.
        redo_changed: Do shards again that were replaced since they were done.
        allow_damaged: Return also when shards were damaged; otherwise `DamageError` names them.
        wait_for_output: Wait while another run works in the output; otherwise `LeaseError`.

    >>> shards = "tests/speech/Emilia/IT/*.tar"
    >>> run = xytok.tokenize(shards, "codes", codec="xy-nano", engine="inline")
    >>> run.summary.codes, run.summary.rejects.total()
    (10, 0)
    """
    from pipeline.corpus.rules import ReadRules
    from pipeline.errors import UsageError
    from pipeline.fleet.ray.engine import open_engine
    from pipeline.fleet.ray.options import RayOptions
    from pipeline.fleet.run import RunRequest, check_finished, run_tokenize
    from pipeline.worker.codec_request import CodecRequest
    from pipeline.worker.settings import Tuning

    if engine not in ("ray", "inline"):
        raise UsageError(f"There is no engine {engine!r}; expected `ray` or `inline`; pass one")
    if not isinstance(codec, str | CodecRequest):
        raise UsageError(
            f"`codec` is a {type(codec).__name__}; expected a name, path or URL, or a "
            "`CodecRequest`, because every worker loads the codec by itself; pass one of those"
        )
    listed = [inputs] if isinstance(inputs, str) or not isinstance(inputs, Iterable) else inputs
    wanted = codec if isinstance(codec, CodecRequest) else CodecRequest(codec)
    request = RunRequest(
        inputs=tuple(map(str, listed)),
        output=str(output),
        rules=rules or ReadRules(),
        storage=_storage(storage),
        tuning=tuning or Tuning(),
        max_shards=max_shards,
        max_reject_rate=max_reject_rate,
        redo_changed=redo_changed,
        allow_damaged=allow_damaged,
        wait_for_output=wait_for_output,
        quiet=quiet,
        codec=wanted,
    )
    workers = open_engine(engine, wanted, ray or RayOptions())
    with closing(workers):
        summary = run_tokenize(request, workers)
    check_finished(summary, allow_damaged=allow_damaged)
    return Run(request.output, storage, summary)


def _storage(storage: "Storage | None") -> "Storage":
    from pipeline.storage.client import Storage

    return storage or Storage()
