"""The limits behind verdicts as options: one flag for every field of `Thresholds`."""

import argparse
from dataclasses import fields

from pipeline.audit.judge.thresholds import Thresholds
from pipeline.errors import UsageError

_HELP = {
    "false_alarms": "share of clean shards that may be called unusual content",
    "min_clips": "a shard with fewer measured clips gets no verdict",
    "min_shift": "least distance from the baseline that counts, as Cliff's delta",
    "effect_scale": "multiplies the least differences of means that count",
    "max_flip_rate": "share of differing codes that is no drift on the run's own platform",
    "flip_factor": "elsewhere drift begins at this many times the expected rate",
    "unknown_flip_rate": "the expected rate where none was recorded",
    "silent_share": "a clip with more silence than this is silent",
    "silent_clips": "a shard with a larger share of silent clips holds silence",
    "stuck_share": "a shard with more rows that repeat one frame is broken",
    "duplicate_share": "a shard with more duplicate rows is unusual content",
    "poor_stoi": "a run with a lower mean STOI is called poor on the page",
}
# Limits that are no share of anything, and so may be larger than one.
_UNBOUNDED = ("min_clips", "effect_scale", "flip_factor")


def add_threshold_options(parser: argparse._ArgumentGroup) -> None:
    """Declare one option for each limit."""
    defaults = Thresholds()
    for field in fields(Thresholds):
        default = getattr(defaults, field.name)
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(default),
            default=default,
            metavar="X",
            help=f"{_HELP[field.name]}; default: {default:g}",
        )


def thresholds_of(args: argparse.Namespace) -> Thresholds:
    """The limits of a command line, all wrong ones refused at once."""
    values = {field.name: getattr(args, field.name) for field in fields(Thresholds)}
    wrong = [
        f"`--{name.replace('_', '-')} {value:g}`"
        for name, value in values.items()
        if value < 0 or (value > 1 and name not in _UNBOUNDED)
    ]
    if wrong:
        raise UsageError(
            f"{', '.join(wrong)} cannot be: expected no limit below 0, and shares up to 1. "
            "See `xytok audit -h` for the defaults"
        )
    return Thresholds(**values)
