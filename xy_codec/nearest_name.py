"""The known name that an unknown one most likely stands for, in messages; needs nothing else."""

import difflib
from collections.abc import Iterable

_FEW = 20
# Of 1; `wher` is 0.89 like `where`, and `where` 0.5 like `verbose`, which nobody means.
_ALIKE = 0.75


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is much like an unknown one; None where there is none."""
    # Dashes in front, which all flags have, make no two names alike.
    bare = {each.lstrip("-"): each for each in sorted(known)}
    close = difflib.get_close_matches(name.lstrip("-"), bare, n=1, cutoff=_ALIKE)
    return bare[close[0]] if close else None


def nearest(name: str, known: Iterable[str], unlisted: Iterable[str] = ()) -> str:
    """What to write instead of an unknown name: the one most like it, else all, if they are few.

    A name of `unlisted` is only written where it is the one most like it.
    """
    names = sorted(known)
    close = closest(name, {*names, *unlisted})
    if close is not None:
        return f"`{close}`"
    return f"one of {', '.join(names)}" if len(names) <= _FEW else "a known one"
