"""What a clip and its speaker are known by, whichever codec made the codes.

Keys alone are not enough: many corpora number the clips of every tar anew.
"""

from pipeline.audit.findings import ClipFinding


def name_of(clip: ClipFinding) -> str:
    """The clip: its shard and its key."""
    return f"{clip.shard}/{clip.key}"


def speaker_of(clip: ClipFinding) -> str:
    """Its speaker; a clip without one is a speaker of its own."""
    return clip.speaker or name_of(clip)
