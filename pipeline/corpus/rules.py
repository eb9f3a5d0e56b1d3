"""The rules of a run: which clips of a shard become rows of its part, and how they are decoded.

They are part of the run's identity: another rule needs another output.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from pipeline.corpus.where import parse_where
from pipeline.errors import UsageError

# Rules that came after the first outputs, so that the identity has them only where they are set.
_CHOICES = ("reject_short", "key_dots", "audio_column", "clips_per_list", "retry")
CLIPS_PER_LIST = 1000
# A number of bytes, also with a unit: `512MiB`, `2G`.
Size = Annotated[int, BeforeValidator(TypeAdapter(ByteSize).validate_python), Field(ge=1)]
DEFAULT_DECODER = "pipeline.corpus.decode:decode_clip"
PYAV_DECODER = "pipeline.corpus.pyav_decode:decode_clip"


def _check_where(expression: str) -> str:
    try:
        parse_where(expression)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return expression


@dataclass(frozen=True, slots=True)
class ReadRules:
    """What becomes a row and what does not.

    Attributes:
        where: keep only clips whose JSON fits this expression, e.g. `dnsmos > 3`.
        limit: take only the first N clips of every shard; the JSON behind them is not read.
        require_json: reject clips that have no JSON.
        reject_short: reject audio that ends half a second before its header or JSON says.
        key_dots: in tars a key ends at the last dot of a name, not at the first as WebDataset's do.
        audio_column: the column of Parquet files that has the audio, where several could.
        clips_per_list: how many clips of a folder or manifest become one part.
        max_clip_seconds: reject longer clips.
        max_member_bytes: reject audio files larger than this, e.g. `512MiB`.
        root: the leading path to cut off when the paths of shards are mirrored in the output.
        pyav: decode also M4A, MP4, AAC, WebM and WMA, by PyAV (`pip install 'xytok[av]'`).
        decoder: the function that decodes a clip; the tests replace it.
        retry: only clips that the outer output has as rejects, with these reasons.
    """

    where: Annotated[str, AfterValidator(_check_where)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    require_json: bool = False
    reject_short: bool = False
    key_dots: bool = False
    audio_column: str | None = None
    clips_per_list: Annotated[int, Field(ge=1)] = CLIPS_PER_LIST
    max_clip_seconds: Annotated[float, Field(gt=0)] | None = None
    max_member_bytes: Size = 512 << 20
    root: str = ""
    pyav: bool = False
    decoder: str = DEFAULT_DECODER
    retry: tuple[str, ...] = ()

    @property
    def decoding(self) -> str:
        """The function that decodes a clip, as `module:function`."""
        return PYAV_DECODER if self.pyav and self.decoder == DEFAULT_DECODER else self.decoder

    def choices(self) -> dict[str, Any]:
        """The rules of `RunIdentity.choices` that are not at their default."""
        plain = ReadRules()
        chosen = {name: getattr(self, name) for name in _CHOICES}
        return {name: each for name, each in chosen.items() if each != getattr(plain, name)}

    @classmethod
    def of_reading(cls, identity: Mapping[str, Any]) -> "ReadRules":
        """The rules by which a run found clips in its shards, from the identity in `run.json`."""
        chosen = {name: identity[name] for name in _CHOICES if name in identity}
        pyav = "pyav" in identity["decoder"]
        return cls(max_member_bytes=identity["max_member_bytes"], pyav=pyav, **chosen)


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """Rules in which a retry of rejects may differ from the run; None keeps the run's.

    Attributes:
        require_json: reject clips that have no JSON.
        reject_short: reject audio that ends half a second before its header or JSON says.
        max_clip_seconds: reject longer clips.
        max_member_bytes: reject audio files larger than this, e.g. `2GiB`.
        pyav: decode also M4A, MP4, AAC, WebM and WMA, by PyAV (`pip install 'xytok[av]'`).
    """

    require_json: bool | None = None
    reject_short: bool | None = None
    max_clip_seconds: Annotated[float, Field(gt=0)] | None = None
    max_member_bytes: Size | None = None
    pyav: bool | None = None

    def applied_to(self, rules: ReadRules) -> ReadRules:
        """The rules with what is changed here."""
        changed = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(rules, **{name: each for name, each in changed.items() if each is not None})
