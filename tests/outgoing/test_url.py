"""URLs are read alike by everybody, or refused."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import httpx
import httpx2
import pytest
import urllib3
import yarl
from hypothesis import example, given, settings

from outgoing.errors import UrlRefused
from outgoing.url import LONGEST, parse_base, parse_url
from tests.outgoing.urls import URLS


@pytest.mark.parametrize(
    ("text", "rebuilt"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/A?B=c#d", "https://example.com/A?B=c"),
        ("http://example.com:8080/?", "http://example.com:8080/?"),
        ("http://my_host/", "http://my_host/"),
        ("http://127.0.0.1:9000/a", "http://127.0.0.1:9000/a"),
        ("http://[2001:DB8:0::1]:80/", "http://[2001:db8::1]/"),
        ("http://[::ffff:7f00:1]/", "http://[::ffff:127.0.0.1]/"),
        (
            "https://a.example/my%20talk.mp3?X-Amz-Signature=a%2Fb",
            "https://a.example/my%20talk.mp3?X-Amz-Signature=a%2Fb",
        ),
        ("https://a.example/100%/ü|x?q=ä%", "https://a.example/100%25/%C3%BC%7Cx?q=%C3%A4%25"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://a.example/@user/x:y", "https://a.example/@user/x:y"),
    ],
)
def test_a_good_url_is_rebuilt(text: str, rebuilt: str):
    assert parse_url(text).text == rebuilt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "only http and https"),
        ("example.com/a", "only http and https"),
        ("http:example.com", "only http and https"),
        ("http:/example.com", "only http and https"),
        ("ftp://example.com/", "only http and https"),
        ("http://", "only http and https"),
        ("http://user@example.com/", "a user name"),
        ("http://@example.com/", "a user name"),
        ("http://example.com\\@127.0.0.1/", "a backslash"),
        ("http://example.com/a\\b", "a backslash"),
        (" http://example.com/", "a space"),
        ("http://example.com/a b", "a space: write %20"),
        ("http://exam\tple.com/", "a control character"),
        ("http://example.com/\r\nHost:", "a control character"),
        ("http://example.com/\ud800", "half a character"),
        ("http://example.com:/", "'' is not a port"),
        ("http://example.com:0/", "'0' is not a port"),
        ("http://example.com:080/", "is not a port"),
        ("http://example.com:65536/", "is not a port"),
        ("http://example.com:٨٠/", "is not a port"),
        ("http://example.com:8_0/", "is not a port"),
        ("http://example.com:80:80/", "is not a port"),
        ("http://example.com#@127.0.0.1/", "a # right after the host"),
        ("http://exa%6dple.com/", "a % in its host"),
        ("http://bücher.example/", "write it as xn--"),
        ("http://127。0。0。1/", "outside ASCII"),
        ("http://127.1/", "is not an IPv4 address"),
        ("http://2130706433/", "is not an IPv4 address"),
        ("http://0x7f.1/", "is not an IPv4 address"),
        ("http://0x7f000001/", "is not an IPv4 address"),
        ("http://0177.0.0.1/", "is not an IPv4 address"),
        ("http://127.0.0.1./", "is not the name of a host"),
        ("http://1.2.3.4.5/", "is not an IPv4 address"),
        ("http://example.com./", "is not the name of a host"),
        ("http://a..b/", "is not the name of a host"),
        ("http://-a.example/", "is not the name of a host"),
        ("http://[::1%25eth0]/", "without a zone"),
        ("http://[::1%eth0]/", "without a zone"),
        ("http://[v1.a]/", "is not an IPv6 address"),
        ("http://[::1/", "brackets"),
        ("http://[::1]a/", "brackets"),
        ("http://a[::1]/", "brackets"),
        ("http://" + "a." * 130 + "example/", "is not the name of a host"),
        ("http://example.com/" + "a" * LONGEST, "characters"),
        ("http://example.com/" + "ü" * (LONGEST // 4), "characters"),
    ],
)
def test_what_parsers_could_read_in_two_ways_is_refused(text: str, words: str):
    with pytest.raises(UrlRefused) as caught:
        parse_url(text)
    assert words in caught.value.message
    assert len(caught.value.message) < 250


def test_a_refusal_repeats_no_password():
    with pytest.raises(UrlRefused) as caught:
        parse_url("ftp://user:secret@example.com/a?token=secret")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["https://a.example/v1/", "https://a.example/v1"])
def test_a_base_has_no_slash_at_its_end(text: str):
    assert parse_base(text) == "https://a.example/v1"


@pytest.mark.parametrize("text", ["https://a.example/v1?", "https://a.example/?a=b", "https://a.example/v1#"])
def test_a_base_has_nothing_that_swallows_a_path(text: str):
    with pytest.raises(UrlRefused, match="swallow"):
        parse_base(text)


@pytest.mark.parametrize(
    ("location", "goal"),
    [
        ("/b?c#d", "https://a.example/b?c"),
        ("c", "https://a.example/x/c"),
        ("?q", "https://a.example/x/y?q"),
        ("//b.example/z", "https://b.example/z"),
        ("http://b.example:81", "http://b.example:81/"),
        ("", "https://a.example/x/y"),
    ],
)
def test_a_redirect_is_read_from_where_it_stands(location: str, goal: str):
    assert parse_url("https://a.example/x/y").join(location).text == goal


@pytest.mark.parametrize(
    "location",
    [
        "///b.example/",
        "/\\b.example/",
        "\\\\b.example",
        "https:b.example",
        "http:/b",
        "/a b",
        "\t//b",
        "file:///a",
        "//a@b",
    ],
)
def test_a_redirect_that_could_lead_elsewhere_is_refused(location: str):
    with pytest.raises(UrlRefused):
        parse_url("https://a.example/x/y").join(location)


@given(URLS)
@settings(max_examples=600)
@example("http://127.0.0.1\\@8.8.8.8/")
@example("http://xn--zz/")
def test_any_text_is_refused_or_means_the_same_to_every_parser(text: str):
    try:
        url = parse_url(text)
    except UrlRefused:
        return
    assert url.text.isascii()
    assert url.text.isprintable()
    assert parse_url(url.text) == url
    default = {"http": 80, "https": 443}[url.scheme]
    split, third, fifth = urlsplit(url.text), urllib3.util.parse_url(url.text), yarl.URL(url.text)
    heard = {(plain(split.hostname), split.port or default), (plain(third.host), third.port or default)}
    heard.add((plain(fifth.raw_host), fifth.port or default))
    for library in (httpx, httpx2):
        theirs = library.URL(url.text)
        heard.add((plain(theirs.raw_host.decode()), theirs.port or default))
    assert heard == {(plain(url.host), url.port)}


def plain(host: str | None) -> object:
    """An IPv6 address has several spellings."""
    try:
        return ipaddress.ip_address((host or "").strip("[]"))
    except ValueError:
        return host
