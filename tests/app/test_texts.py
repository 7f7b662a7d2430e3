"""The page's texts: complete in both languages."""

import re
import string
from pathlib import Path

import pytest

from skyseg.app import texts
from skyseg.app.texts import LANGUAGES, TEXTS, say

SOURCES = Path(texts.__file__).parent


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_each_text_has_the_same_placeholders_in_both_languages(key):
    english, chinese = TEXTS[key]
    assert placeholders(english) == placeholders(chinese)
    assert re.search(r"[一-鿿]", chinese) or not placeholders(english).isdisjoint({"reason"})
    assert not re.search(r"[一-鿿]", english)


def test_every_requested_key_exists_and_every_text_is_used():
    source = "".join(path.read_text() for path in SOURCES.glob("*.py") if path.stem != "texts")
    asked = set(re.findall(r"""(?:say|I18N|\bt)\(["'](\w+)["']""", source))
    assert asked <= TEXTS.keys()
    unused = {key for key in TEXTS if not re.search(rf"""["']{key}["']""", source)}
    assert not unused


def test_placeholders_are_filled_in():
    assert say("version", "zh", version=3) == "版本 3"
    assert say("agree", "en", share=0.9731) == "The two models agree on **97.3%** of the pixels."
    assert set(LANGUAGES) == set(TEXTS["photo"]._fields)
