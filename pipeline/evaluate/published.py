"""Figures that others published, shown beside measured ones and never mixed with them.

They are of other recordings, another speaker model and another recogniser than a measurement here.
A figure that its source does not give is None.
"""

from dataclasses import dataclass

_NOT_NAMED = "not named there"


@dataclass(frozen=True, slots=True)
class Published:
    """One row of somebody's table.

    Attributes:
        source: where it is published, and of which speech.
        sim_model: what SIM is from; figures of other models are other quantities.
        asr_wer: of the reconstructions, by the recogniser that `asr_model` names.
        probe_wer: of a probe on frozen codes.
    """

    source: str
    codec: str
    bits_per_second: int
    frame_rate_hz: float
    sim_model: str = ""
    sim: float | None = None
    stoi: float | None = None
    pesq_nb: float | None = None
    pesq_wb: float | None = None
    asr_wer: float | None = None
    asr_model: str = ""
    probe_wer: float | None = None


_XY = "XY-Tokenizer, arXiv:2506.23325 (2025), by its abstract and a summary; LibriSpeech"
_MOSS = "MOSS-Audio-Tokenizer, README (2026), LibriSpeech test-clean"
_SIMWHISPER = "SimWhisper-Codec, README (2025), LibriSpeech test-clean"
_VERIFIER = "WavLM-large, fine-tuned for verification"


def _moss(
    codec: str, bits: int, rate_hz: float, sim: float, stoi: float, nb: float, wb: float
) -> Published:
    return Published(_MOSS, codec, bits, rate_hz, _NOT_NAMED, sim, stoi, nb, wb)


def _simwhisper(
    codec: str, bits: int, rate_hz: float, wer: float, nb: float, wb: float, stoi: float, sim: float
) -> Published:
    known = (_VERIFIER, sim, stoi, nb, wb, wer, "HuBERT-large, fine-tuned on LibriSpeech")
    return Published(_SIMWHISPER, codec, bits, rate_hz, *known)


PUBLISHED: tuple[Published, ...] = (
    Published(_XY, "XY-Tokenizer", 1000, 12.5, _NOT_NAMED, sim=0.83, probe_wer=0.13),
    Published(_XY, "BigCodec", 1040, 80.0, _NOT_NAMED, sim=0.84),
    Published(_XY, "Baichuan Audio Tokenizer", 1075, 12.5, probe_wer=0.10),
    Published(_XY, "Mimi, 8 codebooks", 1100, 12.5, probe_wer=0.28),
    _moss("XCodec2.0", 800, 50.0, 0.82, 0.92, 3.04, 2.43),
    _moss("SpeechTokenizer, 2 codebooks", 1000, 50.0, 0.36, 0.77, 1.59, 1.25),
    _moss("XY-Tokenizer", 1000, 12.5, 0.85, 0.92, 3.10, 2.50),
    _moss("MOSS-Audio-Tokenizer, 8 codebooks", 1000, 12.5, 0.88, 0.94, 3.38, 2.87),
    _moss("BigCodec", 1040, 80.0, 0.84, 0.93, 3.27, 2.68),
    _moss("Mimi, 8 codebooks", 1100, 12.5, 0.74, 0.91, 2.80, 2.25),
    _moss("DAC, 2 codebooks", 1500, 75.0, 0.48, 0.83, 1.87, 1.48),
    _moss("EnCodec, 2 codebooks", 1500, 75.0, 0.60, 0.85, 1.94, 1.56),
    _moss("SpeechTokenizer, 8 codebooks", 4000, 50.0, 0.85, 0.92, 3.05, 2.60),
    _moss("Mimi, 32 codebooks", 4400, 12.5, 0.94, 0.96, 3.80, 3.43),
    _moss("DAC, 8 codebooks", 6000, 75.0, 0.89, 0.95, 3.75, 3.41),
    _simwhisper("XCodec2.0", 800, 50.0, 0.0261, 3.04, 2.43, 0.92, 0.82),
    _simwhisper("XY-Tokenizer", 1000, 12.5, 0.0246, 3.00, 2.41, 0.91, 0.84),
)
