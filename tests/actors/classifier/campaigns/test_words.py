import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.classifier.campaigns import words as module
from actors.classifier.campaigns.words import TEXT_CHARS_MAX


def words(text: str) -> NDArray[np.uint32]:
    (found,) = module.words(text)
    return found


@pytest.mark.parametrize(
    "variant",
    [
        "VIAGRA",
        "V.I.A.G.R.A",
        "v-i-a-g-r-a!",
        "vi\u200bag\u00adra",
        "vіаgrа",  # noqa: RUF001  Cyrillic i and a
        "νiagrα",  # noqa: RUF001  Greek
        "ｖｉａｇｒａ",  # noqa: RUF001  fullwidth
        "𝐯𝐢𝐚𝐠𝐫𝐚",  # noqa: RUF001  mathematical
        "víàgrä",
    ],
)
def test_a_disguised_word_is_the_word(variant):
    assert words(f"buy {variant} now").tolist() == words("buy viagra now").tolist()


@pytest.mark.parametrize("token", ["$99", "A7F3Q9", "http://a.example/x?y=z", "bob@example.org", "C:\\x", "²"])
def test_a_word_with_a_digit_or_of_an_address_is_left_out(token):
    assert words(f"price {token} today").tolist() == words("price today").tolist()


def test_where_a_word_stands_does_not_change_it():
    assert len(set(words("word " * 5000).tolist())) == 1


def test_other_words_have_other_numbers():
    text = " ".join(f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx")
    assert len(set(words(text).tolist())) == 512


def test_each_ideograph_is_a_word():
    assert len(words("你好世界。")) == 4
    assert words("世界")[0] == words("新世界")[1]


def test_hangul_has_spaces():
    assert len(words("안녕하세요 여러분")) == 2


def test_only_the_head_is_read():
    long = "a " * TEXT_CHARS_MAX
    began_s = time.thread_time()
    assert len(words(long * 100)) == TEXT_CHARS_MAX // 2 - 1
    assert time.thread_time() - began_s < 1


def test_several_texts_have_their_own_words_within_one_bound():
    assert [found.tolist() for found in module.words("", "a b", "", "b 的 9")] == [
        [],
        words("a b").tolist(),
        [],
        words("b 的").tolist(),
    ]
    first, second = module.words("a " * TEXT_CHARS_MAX, "b c")
    assert len(first) == TEXT_CHARS_MAX // 2 - 1
    assert len(second) == 0


@given(st.text(st.characters(codec="utf-16", exclude_categories=())))
def test_any_text_has_words_and_ascii_is_read_as_all_other_text_is(text):
    assert words(text).dtype == np.uint32
    plain = text.encode("ascii", "replace").decode()
    assert words(plain).tolist() == words(f"{plain} 的").tolist()[:-1]
