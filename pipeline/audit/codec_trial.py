"""A first trial of a codec on real speech: does it load, repeat itself, and sound like anything?

`xytok doctor --codec` calls it. Weights that were mixed up, or never trained, load without an error
and give codes of the right shape; only what is heard tells them from good ones.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.audit.codes.reencode import side_error
from pipeline.audit.metrics.stoi_and_pesq import RATE_HZ, stoi
from pipeline.inspect.doctor import Check, guarded
from pipeline.worker.codec_request import CodecRequest
from xy_codec.audio import read_audio, resample
from xy_codec.contract import Codec, Encoded, Waveform

_SPEECH = Path(__file__).parent / "speech"
# How much nearer a decoded sentence must be to its own original than to the other one. STOI alone
# says little: noise has 0.3 and a steady tone 0.45, whatever was said.
_LEAST_GAIN = 0.15
_POOR = 0.6
# Frames of speech are hardly ever twice the same; one that repeats more than this is stuck.
_MOST_REPEATS = 0.5


def try_codec(request: CodecRequest) -> Iterator[Check]:
    """Load a codec and send two sentences through it."""
    trial = _Trial(request)
    yield guarded(trial.load, "codec", "check the path, the options, or the access to the hub")
    if trial.speech:
        yield guarded(trial.check_codes, "codes", "this codec cannot be used here")
    if trial.encoded:
        yield guarded(trial.check_sound, "sound", "this codec cannot decode here")


class _Trial:
    """The steps of a trial; each needs what the one before it left."""

    def __init__(self, request: CodecRequest) -> None:
        self._request = request
        self.speech: list[Waveform] = []
        self.encoded: list[Encoded] = []

    def load(self) -> Check:
        """Load the codec, and the speech at its rate."""
        self._codec = self._request.load()
        shape, identity = self._codec.shape, self._codec.identity
        paths = sorted(_SPEECH.glob("*.mp3"))
        self.speech = [read_audio(path, shape.input_rate_hz) for path in paths]
        return Check(
            "codec",
            "ok",
            f"{identity.name}, checkpoint {identity.checkpoint_sha256[:12]}: "
            f"{shape.codebooks_in_words()} at {shape.frame_rate_hz:.5g} frames a second, "
            f"{shape.bits_per_second:,.0f} bit/s, {identity.company}",
        )

    def check_codes(self) -> Check:
        """Encode both sentences together, and each alone."""
        together = self._codec.encode_with_side(self.speech)
        alone = [self._codec.encode_with_side([wave])[0] for wave in self.speech]
        wanted = [self._codec.shape.num_frames(len(wave)) for wave in self.speech]
        frames = [each.codes.shape[1] for each in together]
        if frames != wanted:
            advice = "the configuration does not belong to these weights; report it"
            return Check("codes", "fault", f"{frames} frames; expected {wanted}", advice)
        if not all(map(_same, together, alone)):
            found = "a clip alone and beside another one has other codes"
            return Check("codes", "fault", found, "report it with the lines above")
        self.encoded = together
        codes = np.concatenate([each.codes for each in together], axis=1)
        repeats = float((codes[:, 1:] == codes[:, :-1]).all(axis=0).mean())
        if repeats > _MOST_REPEATS:
            advice = "the weights are not trained, or belong to another configuration"
            return Check("codes", "fault", f"{repeats:.0%} of the frames repeat", advice)
        fewest = min(len(np.unique(row)) for row in codes)
        found = f"{sum(frames)} frames, the same twice; {fewest} or more entries a codebook used"
        return Check("codes", "ok", found)

    def check_sound(self) -> Check:
        """Decode twice, and compare with the sentences."""
        if self._codec.identity.decodes == "no":
            return Check("sound", "note", "it has no decoder", "an audit can only encode again")
        heard = self._codec.decode_encoded(self.encoded)
        if not all(map(np.array_equal, heard, self._codec.decode_encoded(self.encoded))):
            advice = "report it with the lines above"
            return Check("sound", "fault", "decoding twice gives two sounds", advice)
        own = self._mean_stoi(heard)
        other = self._mean_stoi(heard[::-1])
        found = f"STOI {own:.2f} of two sentences (1 is the original, {other:.2f} the wrong one)"
        # Not `<`, so that NaN is a fault.
        if not own - other >= _LEAST_GAIN:
            advice = "this is not what was said: weights not trained, mixed up, or of another codec"
            return Check("sound", "fault", found, advice)
        if own < _POOR:
            return Check("sound", "note", found, "listen to `xytok show --wav` before a long run")
        return Check("sound", "ok", found)

    def _mean_stoi(self, heard: Sequence[Waveform]) -> float:
        pairs = zip(self.speech, heard, strict=True)
        return float(np.mean([_stoi(self._codec, *pair) for pair in pairs]))


def _stoi(codec: Codec, wave: Waveform, heard: Waveform) -> float:
    """Of the part that both have: codecs drop or fill a last frame."""
    original = resample(wave, codec.shape.input_rate_hz, RATE_HZ)
    decoded = resample(heard, codec.shape.output_rate_hz, RATE_HZ)
    length = min(len(original), len(decoded))
    return stoi(original[:length], decoded[:length])


def _same(left: Encoded, right: Encoded) -> bool:
    return np.array_equal(left.codes, right.codes) and not side_error(left.side, right.side)
