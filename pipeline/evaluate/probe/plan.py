"""How a probe is trained: the paper's way, and one for small machines."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

Preset = Literal["paper", "small"]
# Above it the probe's recurrent layers do not settle.
HIGHEST_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Everything about the training but the clips.

    Attributes:
        steps: of `batch_clips` each.
        learning_rate: the highest; in the last fifth of the steps it falls to zero.
        hidden: units of either direction of the two recurrent layers.
        table_width: of embeddings that are learned, where the codec gives none.
        lowest_rate_hz: steps are repeated until there are at least so many a second, because CTC
            needs a step for every character.
    """

    steps: Annotated[int, Field(ge=1)] = 400_000
    learning_rate: Annotated[float, Field(gt=0, le=HIGHEST_RATE)] = 1e-4
    hidden: Annotated[int, Field(ge=1)] = 1024
    batch_clips: Annotated[int, Field(ge=1)] = 4
    table_width: Annotated[int, Field(ge=1)] = 256
    lowest_rate_hz: Annotated[float, Field(gt=0)] = 50.0
    seed: int = 0


PRESETS: dict[str, ProbePlan] = {
    "paper": ProbePlan(),
    "small": ProbePlan(steps=1000, learning_rate=1e-3, hidden=128, table_width=64),
}
