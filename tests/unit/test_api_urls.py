"""What goes into a URL: details that fit, and which addresses are the API's own."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from jobfetcher.api.auth import FixedToken
from jobfetcher.api.client import ApiClient, fitting, origin, retry_after
from tests.properties import calm


@calm
@given(st.text(max_size=400), st.integers(100, 500))
def test_a_detail_always_fits(text: str, room: int) -> None:
    """Whatever the text, its encoding has room, and what fits is not changed but for NUL."""
    fitted = fitting(text, room)

    assert len(quote(fitted, safe="")) <= room
    whole = text.replace("\0", "")
    if len(quote(whole, safe="")) <= room:
        assert fitted == whole


def test_of_a_long_detail_the_beginning_and_the_end_stay() -> None:
    """The sentence is first, the last log lines are last; the cut is never within a character."""
    fitted = fitting("Sentence.\n" + "ü" * 1000 + "\nlast", 200)

    assert fitted.startswith("Sentence.\n…\nü")
    assert fitted.endswith("ü\nlast")


def test_a_long_first_line_leaves_room_for_the_end() -> None:
    """One endless line is cut in its middle."""
    fitted = fitting("a" * 500 + "z", 100)

    assert (fitted[:28], fitted[-1]) == ("a" * 25 + "\n…\n", "z")
    assert len(quote(fitted, safe="")) == 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a", "http://H:80/b?c", True),
        ("https://h", "https://h:443/", True),
        ("http://h", "https://h", False),
        ("http://h:1", "http://h:2", False),
        ("http://h", "http://h.evil", False),
        ("http://h", "http://h@evil", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    """Only where all three are equal does the login go along."""
    assert (origin(one) == origin(other)) is same


@pytest.mark.parametrize("url", ["", "api.example", "ftp://h", "http://"])
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    """The mistake is named where it is made."""
    with pytest.raises(ValueError, match="API_URL"):
        ApiClient(url, FixedToken(SecretStr("t")))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": " 600 "}, 600.0),
        ({"retry-after": "99999999"}, 600.0),
        ({"retry-after": "9" * 1000}, 600.0),
        ({"retry-after": "²"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            30.0,
        ),
        (
            {"retry-after": "Thu, 21 Oct 2055 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            600.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a date by the answer's own clock; never more than ten minutes."""
    assert retry_after(headers) == seconds
