"""Which codec a run wants, as plain data that travels to the workers that load it."""

from dataclasses import dataclass

from xy_codec.contract import Codec


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
        """What may be a URL, and must hold no secret."""
        return [each for each in (self.source, self.config) if each]

    def load(self) -> Codec:
        """Load the codec in this process."""
        from xy_codec import load_codec

        return load_codec(
            self.source,
            config=self.config,
            precision=self.precision,
            device=self.device,
            overlap_seconds=self.overlap_seconds,
            compiled=self.compiled,
        )
