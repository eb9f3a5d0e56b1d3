"""The catalogue of faults: each with its verdict, what it means and what to do about it."""

from dataclasses import dataclass

from pipeline.audit.judge.judgement import Fault, Verdict


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault, in the words of the report."""

    name: str
    verdict: Verdict
    meaning: str
    advice: str


_REDO = "Delete the manifests of these shards and run `xytok tokenize` again with this checkpoint"

_KINDS = (
    FaultKind(
        "missing rows",
        "broken",
        "The part holds other rows than its manifest promises.",
        f"{_REDO}; do not train on the rest before.",
    ),
    FaultKind(
        "damaged shard",
        "broken",
        "Part, manifest and source do not fit together.",
        f"Look at the problems listed for the shard. {_REDO}.",
    ),
    FaultKind(
        "damaged codes",
        "broken",
        "Codes have the wrong shape or values no codebook has.",
        f"{_REDO}; a trainer would crash or learn rubbish from these rows.",
    ),
    FaultKind(
        "wrong length",
        "broken",
        "Rows have more or fewer frames than their audio.",
        f"{_REDO}; text and codes would not belong together.",
    ),
    FaultKind(
        "zeroed codebooks",
        "broken",
        "Whole codebooks hold one value only, so most of the sound is gone.",
        f"Check what wrote or converted these parts. {_REDO}.",
    ),
    FaultKind(
        "swapped codes",
        "broken",
        "Rows carry the codes of other clips: text and codes do not belong together.",
        f"{_REDO}; until then leave these shards out.",
    ),
    FaultKind(
        "stuck frames",
        "broken",
        "Rows repeat one frame over and over where the audio does not.",
        f"{_REDO}.",
    ),
    FaultKind(
        "wrong checkpoint",
        "drift",
        "The codes are not what this checkpoint gives for this audio.",
        "Find the checkpoint that made these shards, or tokenize them again; codes of two "
        "checkpoints must never be mixed in one training set.",
    ),
    FaultKind(
        "changed resampler",
        "drift",
        "The codes come from audio that was resampled or decoded differently.",
        f"Compare the package versions of both machines. {_REDO} to have one path for all data.",
    ),
    FaultKind(
        "shifted offset",
        "drift",
        "The codes are right but start at another frame.",
        f"{_REDO}; alignments of text and audio would be off by the shift.",
    ),
    FaultKind(
        "scattered flips",
        "drift",
        "Single codes differ here and there, in all codebooks alike.",
        "Where a part has another checksum than its manifest says, that is listed as damage. Where "
        "it has not, the codes were so when they were written: compare the versions of torch and "
        f"the machines. {_REDO}.",
    ),
    FaultKind(
        "other side values",
        "drift",
        "The values beside the codes are not what this codec gives for this audio.",
        f"They are part of how a clip sounds: look for swapped or rewritten rows. {_REDO}.",
    ),
    FaultKind(
        "gain",
        "drift",
        "The codes come from the same audio at another loudness.",
        f"Look for a normaliser before the tokenizer, or replaced originals. {_REDO}.",
    ),
    FaultKind(
        "changed source",
        "drift",
        "The originals are no longer the audio that was tokenized.",
        "Restore the originals, or tokenize again with `--redo-changed`.",
    ),
    FaultKind(
        "unexplained drift",
        "drift",
        "The codes differ from fresh ones in a way the audit has no name for.",
        f"Listen to the worst clips below. {_REDO}.",
    ),
    FaultKind(
        "silence",
        "unusual content",
        "Many clips hold almost no sound.",
        "Filter silent clips out before training; look at how this shard was cut.",
    ),
    FaultKind(
        "noise",
        "unusual content",
        "The recordings are noisier than the reference; that is no fault of the codes.",
        "Decide by ear: keep for robustness, or drop by DNSMOS before training.",
    ),
    FaultKind(
        "other content",
        "unusual content",
        "The audio is harder for the codec than the reference; that is no fault of the codes.",
        "Listen to the worst clips below and decide whether you want this data.",
    ),
    FaultKind(
        "unlike codes",
        "unusual content",
        "The codes of the shard follow each other as those of no other shard of its language do.",
        "Fewer bits a code: look for clips that repeat or hold still. More: look for codes of "
        "another codec, or frames out of order; or for speech that is unlike the other shards'.",
    ),
    FaultKind(
        "duplicate clips",
        "unusual content",
        "The same audio, codes or key occur more than once.",
        "Drop duplicates before training: by `audio_xxh64`, and by equal codes where bytes differ.",
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}


def fault(name: str, evidence: str, num_clips: int = 0) -> Fault:
    """A fault of the catalogue with its evidence."""
    return Fault(name, KINDS[name].verdict, evidence, num_clips)
