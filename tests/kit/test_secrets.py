"""Secrets are hidden in every form in which others write them, and where they are cut."""

import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from everloom.kit.secrets import Secrets

KEY = 'up-4+key/with "all" & <every>=\\kind%'


def hiding(*texts: str) -> Secrets:
    secrets = Secrets()
    secrets.add(texts)
    return secrets


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(json.dumps(KEY))[3:-3],
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{ord(character):04X}" if not character.isalnum() else character for character in KEY),
        quote(KEY, safe=""),
        quote_plus(KEY),
        quote(quote(KEY, safe=""), safe="").lower().replace("all", "all"),
        html.escape(KEY),
        repr(KEY)[1:-1],
    ],
    ids=range(10),
)
def test_every_form_is_hidden(written: str) -> None:
    assert hiding(KEY, "other-secret").hide(f'{{"message": "key {written} is bad"}}') == '{"message": "key *** is bad"}'


def test_several_and_the_longer_first() -> None:
    secrets = hiding("abcdefgh", "abcdefgh-more")
    assert secrets.hide("abcdefgh-more and abcdefgh, xabcdefghx") == "*** and ***, x***x"
    secrets.add(["later-one"])
    assert secrets.hide("later-one abcdefgh") == "*** ***"


def test_a_short_one_is_hidden_as_a_word() -> None:
    secrets = hiding("hush", "ab", "")
    assert secrets.hide("me:hush@host, password=hush, hushed ab") == "me:***@host, password=***, hushed ab"


@pytest.mark.parametrize("cut", range(7, 30))
def test_what_is_cut_is_hidden_too(cut: int) -> None:
    key = "9f86d081-884c7d659a2feaa0c55ad015"
    secrets = hiding(key)
    assert secrets.hide(f"bad key: {key[:cut]}") == "bad key: ***"
    assert secrets.hide(f"{key[-cut:]} is bad") == "*** is bad"
    if cut > 12:
        assert secrets.hide(f"said: {key[:cut]}). Ask again, {key[:cut]}!") == "said: ***). Ask again, ***!"


def test_nothing_else_is_touched() -> None:
    text = "A text & 100 % of others: \\u0041, 9f86d, feaa0"
    assert hiding("9f86d081-884c7d659a2feaa0c55ad015").hide(text) == text
    assert Secrets().hide(text) == text


@pytest.mark.parametrize(
    "text", ["\\" * 60_000, "%" * 60_000, "&#0" * 20_000, "\\u006" * 10_000, "9f86d081-884" * 5_000]
)
def test_no_text_takes_long(text: str) -> None:
    secrets = hiding("9f86d081-884c7d659a2feaa0c55ad015", "a/b+c=d\\e", KEY)
    started = time.thread_time()
    secrets.hide(text)
    assert time.thread_time() - started < 2
