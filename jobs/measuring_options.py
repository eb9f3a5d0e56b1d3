"""How clips are measured: the options that `audit` and `compare` have in common."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.options import (
    AsrModel,
    Device,
    Metrics,
    Processes,
    SimModel,
    StorageOptions,
    open_storage,
)
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.worker.codec_request import Precision

if TYPE_CHECKING:
    from pipeline.audit.audit import AuditRequest


@dataclass(frozen=True, slots=True)
class MeasuringOptions:
    """How clips are measured.

    Attributes:
        shard: only shards with this text in their paths (repeatable).
        codec: the checkpoint to re-encode with; default: where the run had it.
        codec_config: its YAML, where it does not lie beside the weights.
        precision: to re-encode with; default: as the run.
        reencode: encode the clips again and compare the codes: the check for drift.
        flip_rate: share of codes expected to differ between the platform of the run and this one.
        source_map: OLD=NEW, where the shards are now (repeatable).
    """

    shard: tuple[str, ...] = ()
    metrics: Metrics = None
    sim_model: SimModel = "campplus"
    asr_model: AsrModel = None
    codec: str | None = None
    codec_config: str | None = None
    device: Device = "auto"
    precision: Precision | None = None
    reencode: bool = True
    flip_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    processes: Processes = None
    source_map: tuple[str, ...] = ()
    storage_options: StorageOptions = None

    def request(
        self, output: str, plan: SamplePlan, *, list_sources: bool = False, quiet: bool = False
    ) -> "AuditRequest":
        """The request for the run in `output`."""
        from pipeline.audit.audit import AuditRequest
        from pipeline.audit.metrics.scores import check_groups
        from pipeline.audit.sample.originals import SourceMap

        return AuditRequest(
            output=output,
            storage=open_storage(self.storage_options),
            plan=plan,
            codec=self.codec,
            codec_config=self.codec_config,
            device=self.device,
            precision=self.precision,
            groups=check_groups(self.metrics),
            sim_model=self.sim_model,
            asr_model=self.asr_model,
            source_map=SourceMap.parse(self.source_map),
            only=self.shard,
            reencode=self.reencode,
            processes=self.processes,
            expected_flip_rate=self.flip_rate,
            list_sources=list_sources,
            quiet=quiet,
        )


Measuring = Annotated[MeasuringOptions, Parameter(name="*", group="Measuring")]
