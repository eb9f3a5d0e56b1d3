"""The sounds of single findings, read and decoded again for the page that shows them."""

from dataclasses import dataclass

from pipeline.audit.audited_run import AuditedRun
from pipeline.audit.findings import ClipAudio, ClipFinding
from pipeline.audit.metrics.scores import RATE_HZ
from pipeline.audit.sample.originals import OriginalReader, SourceMap
from pipeline.audit.sample.part_file import PartFile
from pipeline.audit.sample.sampling import sampled_clips
from pipeline.corpus.rules import ReadRules
from pipeline.errors import PipelineError
from pipeline.storage.client import Storage
from xy_codec.audio import resample
from xy_codec.contract import Codec
from xy_codec.errors import XYCodecError


@dataclass(frozen=True, slots=True)
class Playback:
    """Call it with a finding; None where a side cannot be read any more."""

    run: AuditedRun
    codec: Codec
    storage: Storage
    source_map: SourceMap

    def __call__(self, finding: ClipFinding) -> ClipAudio | None:
        """Original and decoded stored codes of one clip at 16 kHz."""
        manifests = (each for each in self.run.manifests if each.shard == finding.shard)
        manifest = next(manifests, None)
        if manifest is None:
            return None
        try:
            part = PartFile.read(self.storage, self.run.output, manifest)
            table = part.columns_without_codes()
            url = self.source_map.locate(manifest.url)
            (clip,) = sampled_clips(table, part.codes_of([finding.row]), manifest, url)
            rules = ReadRules.of_reading(self.run.identity)
            where = (self.storage, self.run.output, manifest, url)
            original = OriginalReader.of_shard(*where, rules, RATE_HZ)(clip)
            (decoded,) = self.codec.decode_encoded([clip.encoded], keys=[clip.key])
        except (PipelineError, XYCodecError, ValueError):
            return None
        if original.waveform is None:
            return None
        heard = resample(decoded, self.codec.shape.output_rate_hz, RATE_HZ)
        return ClipAudio(original.waveform, heard, RATE_HZ)
