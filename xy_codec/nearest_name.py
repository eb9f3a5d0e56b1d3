"""The known name that an unknown one most likely stands for, in messages; needs nothing else."""

import difflib
from collections.abc import Iterable

_FEW = 20
# Of 1; `wher` is 0.89 like `where`, and `where` 0.5 like `verbose`, which nobody means.
_ALIKE = 0.75


def nearest(name: str, known: Iterable[str], unlisted: Iterable[str] = ()) -> str:
    """What to write instead of an unknown name: the one most like it, else all, if they are few.

    A name of `unlisted` is only written where it is the one most like it.
    """
    # Dashes in front, which all flags have, make no two names alike.
    bare = {each.lstrip("-"): each for each in sorted({*known, *unlisted})}
    close = difflib.get_close_matches(name.lstrip("-"), bare, n=1, cutoff=_ALIKE)
    if close:
        return f"`{bare[close[0]]}`"
    names = sorted(known)
    return f"one of {', '.join(names)}" if len(names) <= _FEW else "a known one"
