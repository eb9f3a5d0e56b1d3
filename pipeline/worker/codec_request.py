"""Which codec a run uses, as plain data: the run sends it to its workers, and they load it."""

import logging
from dataclasses import dataclass

from pipeline.storage.location import redact
from xy_codec.contract import Codec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CodecRequest:
    """The arguments of `load_codec`."""

    source: str
    config: str | None = None
    precision: str = "exact"
    device: str = "auto"
    overlap_seconds: float = 10.0
    compiled: bool = False

    def urls(self) -> list[str]:
        """The fields that may be URLs, to be checked for secrets."""
        return [each for each in (self.source, self.config) if each]

    def load(self) -> Codec:
        """Load the codec in this process."""
        logger.info("Loading the codec `%s`, precision `%s`", redact(self.source), self.precision)
        from xy_codec import load_codec

        return load_codec(
            self.source,
            config=self.config,
            precision=self.precision,
            device=self.device,
            overlap_seconds=self.overlap_seconds,
            compiled=self.compiled,
        )
