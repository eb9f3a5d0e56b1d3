"""The fields in which manifests name the audio, its key, its times and what is known of it."""

from collections.abc import Iterable

# Of these names a line may have several: the first counts. All are found in any case of letters.
PATHS = ("audio_filepath", "audio_path", "audio", "path", "file_name", "file", "wav", "filename")
KEYS = ("id", "key", "utt_id", "utterance_id", "segment_id")
STARTS = ("offset", "start", "start_time", "begin")
ENDS = ("end", "end_time")
# Those that have a column in the parts.
KNOWN = ("text", "speaker", "language", "dnsmos", "phone_count", "duration")
# Those that are text, also where they look like numbers, and those that are numbers.
TEXTS = (*PATHS, *KEYS, "text", "speaker", "language")
SECONDS = (*STARTS, *ENDS, "duration")
NUMBERS = (*SECONDS, "dnsmos", "phone_count")
_MOST_SHOWN = 80
_MOST_NAMES = 20


def shown_names(fields: Iterable[str]) -> str:
    """Names for a message, the first twenty of many."""
    names = [f"`{name[:_MOST_SHOWN]}`" for name in fields]
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}" if names else "none"
