"""Languages by their English names, for trainers that put the name into the prompt."""

from functools import cache

from pipeline.errors import InputError


@cache
def language_name(code: str) -> str:
    """`English` for `en`; a name stays as it is."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    name = LANGUAGES.get(code.lower().split("-")[0].split("_")[0])
    if name is None and code.lower() in LANGUAGES.values():
        name = code
    if name is None:
        raise InputError(
            f"No name is known for the language `{code}`; expected an ISO 639-1 code such as `en`; "
            "pass `--language code` to write languages as they are"
        )
    return str(name).title()
