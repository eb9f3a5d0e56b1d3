"""What a family says of all its codecs: which wishes it refuses, and the names of its options."""

import pytest

from xy_codec import load_codec
from xy_codec.catalogue import Family, Wish, families
from xy_codec.errors import ConfigError

COMPILED = Wish(compiled=True)


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_compiled_form_that_there_is_not_is_refused(family: Family) -> None:
    if family.compiles:
        family.check(COMPILED)
        return
    rule = rf"^`compiled` is True, but {family.name} has no compiled form; expected false\. Leave"
    with pytest.raises(ConfigError, match=rule):
        family.check(COMPILED)


def test_only_xy_tokenizer_compiles() -> None:
    assert [family.name for family in families() if family.compiles] == ["XY-Tokenizer"]
    with pytest.raises(ConfigError, match="`compiled` is True, but fake has no compiled form"):
        load_codec("fake", compiled=True)


def test_the_names_of_options_are_those_that_are_read() -> None:
    assert {family.name: family.option_names for family in families()} == {
        "XY-Tokenizer": ("compile_cache", "depth", "overlap_seconds", "program"),
        "MOSS-Audio-Tokenizer": ("depth", "program"),
        "SecoustiCodec": ("allow_upsampling", "program"),
        "transformers": ("bandwidth", "depth"),
        "SNAC": (),
        "SpeechTokenizer": ("depth",),
    }
    for family in families():
        with pytest.raises(ConfigError, match="`dpth` is unknown"):
            family.check(Wish(options={"dpth": 3}))
