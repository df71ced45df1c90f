"""Good URLs and what may be done to them, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTS = (
    "public.example", "deep.inside", "localhost", "8.8.8.8", "127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]",
    "[2606:4700::1111]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "xn--bcher-kva.example", "a_b.example", "127.1",
    "2130706433", "0x7f.1", "0177.0.0.1", "0", "①②⑦.0.0.1", "bücher.example", "faß.example", "127。0。0。1", "xn--zz",
)  # fmt: skip
NASTIES = (
    "\\", "@", ":", "#", "?", "/", "//", "%", "%00", "%2f", "%40", "%5c", "%25", "%2540", ".", "..", "\t", "\n",
    "\r\n", " ", "\x00", "\x7f", "\xa0", "\u200b", "\u3002", "\uff0e", "\u2024", "\ud800", "[", "]", "[::1]", "%25lo",
    ":80", ":0", ":99999", ":080", ":8_0", ":٨٠", "user:pw@", "@127.0.0.1", "\\@8.8.8.8", "#@8.8.8.8", "?@8.8.8.8", ";",
    "|", "`", "{", "http://", "https:", "HTTP", "\u212a", "ß", "0x", "-", "_", "&", "+",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(("http", "https", "HTTP", "hTTps", "ftp", "file", "")))
    port = draw(st.sampled_from(("", ":8080", ":443", ":80", ":", ":0", ":65536", ":1")))
    path = draw(st.sampled_from(("", "/", "/v1", "/a%20b.wav?x=1#y", "/a/../b", "?x=1")))
    text = f"{scheme}://{draw(st.sampled_from(HOSTS))}{port}{path}"
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 1))
        text = text[:at] + draw(st.sampled_from(NASTIES)) + text[at + cut :]
    return text


URLS = st.one_of(mutated(), mutated(), mutated(), st.text(max_size=40), st.text(max_size=20).map("http://{}".format))
