"""The rules of a run: which clips of a shard become rows of its part, and how they are decoded.

They are part of the run's identity: another rule needs another output.
"""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from pipeline.corpus.where import parse_where
from pipeline.errors import UsageError

DEFAULT_DECODER = "pipeline.corpus.decode:decode_clip"


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
        max_clip_seconds: reject longer clips.
        max_member_bytes: reject audio files larger than this, e.g. `512MiB`.
        root: the leading path to cut off when the paths of shards are mirrored in the output.
        decoder: the function that decodes a clip; the tests replace it.
    """

    where: Annotated[str, AfterValidator(_check_where)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    require_json: bool = False
    max_clip_seconds: Annotated[float, Field(gt=0)] | None = None
    max_member_bytes: Annotated[
        int, BeforeValidator(TypeAdapter(ByteSize).validate_python), Field(ge=1)
    ] = 512 << 20
    root: str = ""
    decoder: str = DEFAULT_DECODER
