"""Which codec a run uses, as plain data: the run sends it to its workers, and they load it."""

import logging
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from pipeline.storage.location import redact

if TYPE_CHECKING:
    from xy_codec.contract import Codec

Precision = Literal["exact", "fast"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CodecRequest:
    """The arguments of `load_codec`.

    Attributes:
        source: a released checkpoint (name, path, URL, repository), or `xy-nano` for a trial.
        config: the codec's YAML, where it does not lie beside the weights.
        precision: `exact` gives the codes of the reference, `fast` uses half precision.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        overlap_seconds: how far the windows of a long clip overlap.
        compiled: compile the encoder first, which takes minutes.
    """

    source: str
    config: str | None = None
    precision: Precision = "exact"
    device: str = "auto"
    overlap_seconds: Annotated[float, Field(ge=0)] = 10.0
    compiled: bool = False

    def urls(self) -> list[str]:
        """The fields that may be URLs, to be checked for secrets."""
        return [each for each in (self.source, self.config) if each]

    def load(self) -> "Codec":
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
