"""What the adapters give is what the packages' own classes give, called as their authors write."""

import shutil

import numpy as np
import pytest
import torch

from tests.support.tiny_codecs import TRANSFORMERS, quiet_packages, quiet_transformers
from xy_codec.engine.threads import threads
from xy_codec.hub.packages import import_model
from xy_codec.loading import checkpoint_sha256, load_codec

CLASSES = {
    "dac": "DacModel",
    "encodec": "EncodecModel",
    "mimi": "MimiModel",
    "xcodec": "XcodecModel",
    "xcodec2": "Xcodec2Model",
    "neucodec": "NeuCodecModel",
    "wavtokenizer": "WavTokenizerModel",
    "higgs_audio_v2_tokenizer": "HiggsAudioV2TokenizerModel",
}


def clips(rate_hz):
    """Two lengths, none of which is a whole number of frames of any codec."""
    rng = np.random.default_rng(7)
    lengths = [int(seconds * rate_hz) + 1 for seconds in (0.11, 0.6)]
    return [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def encode_by_hand(name, model, inputs):
    if name == "encodec":
        # Its codes have an axis of chunks, and its own default is the lowest bandwidth.
        return model.encode(**inputs, bandwidth=6.0).audio_codes[0]
    if name in ("dac", "xcodec", "higgs_audio_v2_tokenizer"):
        return model.encode(inputs["input_values"]).audio_codes
    return model.encode(**inputs).audio_codes


def decode_by_hand(name, model, codes):
    if name == "encodec":
        return model.decode(codes[None], [None]).audio_values
    return model.decode(audio_codes=codes).audio_values


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_codes_and_sound_are_those_of_the_class(name, folder_of, codec_of):
    codec = codec_of(name)
    with quiet_transformers() as transformers, torch.inference_mode(), threads(1):
        model = getattr(transformers, CLASSES[name]).from_pretrained(folder_of(name)).eval()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder_of(name))
        for clip in clips(codec.shape.input_rate_hz):
            rate = codec.shape.input_rate_hz
            inputs = extractor(clip, sampling_rate=rate, return_tensors="pt")
            codes = encode_by_hand(name, model, inputs)
            (ours,) = codec.encode([clip])
            assert np.array_equal(ours, codes[0].numpy())
            assert len(np.unique(ours)) > ours.shape[1] / 3
            sound = decode_by_hand(name, model, codes).flatten().numpy()
            (heard,) = codec.decode([ours])
            assert len(heard) == ours.shape[1] * codec.shape.output_samples_per_frame
            assert np.array_equal(heard[: len(sound)], sound)
            assert not heard[len(sound) :].any()


def test_the_folder_inside_of_the_repository_of_speechtokenizer_is_found(
    folder_of, codec_of, tmp_path
):
    shutil.copytree(folder_of("speechtokenizer"), tmp_path / "speechtokenizer_hubert_avg")
    assert load_codec(tmp_path, device="cpu").identity == codec_of("speechtokenizer").identity
    assert (
        checkpoint_sha256(str(tmp_path)) == codec_of("speechtokenizer").identity.checkpoint_sha256
    )


def test_codes_and_sound_of_speechtokenizer_are_those_of_the_class(folder_of, codec_of):
    codec, folder = codec_of("speechtokenizer"), folder_of("speechtokenizer")
    kind = import_model("speechtokenizer", "model", "speechtokenizer").SpeechTokenizer
    with quiet_packages(), torch.inference_mode(), threads(1):
        files = folder / "config.json", folder / "SpeechTokenizer.pt"
        model = kind.load_from_checkpoint(*map(str, files)).eval()
        for clip in clips(16000):
            codes = model.encode(torch.from_numpy(clip)[None, None])
            (ours,) = codec.encode([clip])
            assert np.array_equal(ours, codes[:, 0].numpy())
            (heard,) = codec.decode([ours])
            assert np.array_equal(heard, model.decode(codes).flatten().numpy())
