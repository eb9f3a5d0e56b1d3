"""The filter against clips: fields that are missing, and values of another type are named."""

import pytest

from pipeline.corpus.where_check import WhereCheck, types_in
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("expression", "types"),
    [
        ("dnsmos > 3 and not (language == 'en')", {"dnsmos": "numbers", "language": "text"}),
        ("2 < a.b <= -3", {"a.b": "numbers"}),
        ("language in ['de', null]", {"language": "text"}),
        ("n in [1, 2] or n == 'x'", {"n": "numbers text"}),
        ("'calm' in tags", {"tags": "lists objects text"}),
        ("3 in tags", {"tags": "lists objects"}),
        ("a == null or a != b or flag", {}),
        ("flag == true", {"flag": "numbers"}),
    ],
)
def test_the_types_of_fields_are_those_that_they_are_compared_with(
    expression: str, types: dict[str, str]
) -> None:
    assert types_in(expression) == {name: set(kinds.split()) for name, kinds in types.items()}


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (
            "score > 3",
            "3,1",
            r"`score` with numbers, and all 2 .* are text, such as `'3,1'`;.*quotes",
        ),
        ("score == '4'", 4, r"`score` with text, and all 2 .* are numbers, such as `4`;.*without"),
        ("score == 'a'", ["a"], r"are lists, such as `\['a'\]`; .* write `value in score`"),
        ("score in ['4']", 4.5, r"are numbers, such as `4.5`"),
        ("not (score > 3)", "high", r"are text"),
    ],
)
def test_a_type_that_no_clip_has_is_refused(where: str, value: object, says: str) -> None:
    check = WhereCheck(where)
    assert [check.look_at({"score": value}), check.look_at({"score": value})] == [False, False]
    assert not check.is_sure
    with pytest.raises(UsageError, match=says):
        check.refuse_misfits("clips")


@pytest.mark.parametrize(
    ("where", "values", "num_unfit"),
    [
        ("score > 3", [3.5, "high", None], 1),
        ("score == 'x' or score > 3", ["high", 4], 0),
        ("score == true", [True, 1], 0),
        ("score != null", ["high", 4], 0),
        ("'a' in score", [["a"], "cab", {"a": 1}], 0),
        ("score > 3", [None], 0),
    ],
)
def test_types_that_only_some_clips_lack_are_counted(
    where: str, values: list[object], num_unfit: int
) -> None:
    check = WhereCheck(where)
    for value in values:
        check.look_at({"score": value})
    check.refuse_misfits("clips")
    assert check.num_unfit == num_unfit
    assert ("such as `'high'`" in check.unfit_types()) == bool(num_unfit)
