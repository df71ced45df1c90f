"""A URL's text -> its parts, checked and rebuilt; what two parsers could read in two ways is refused.

Clients differ about backslashes, user names, white space, odd ports, numeric addresses and characters outside ASCII
(RFC 3986, WHATWG's URL standard and Python's libraries do not agree), and a check is worth nothing when the client
then connects to something else. So only the forms that all of them read alike pass, and they pass as new text.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urljoin

from outgoing.errors import UrlRefused

LONGEST = 16_384  # characters; presigned links have up to some thousands
_PORTS = {"http": 80, "https": 443}
_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# ASCII up to the space, DEL, C1 controls and the no-break space; halves of surrogate pairs; the backslash.
_FORBIDDEN = re.compile("[\x00-\x20\x7f-\xa0\ud800-\udfff\\\\]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A host whose last label is a number is an address for some parsers, in octal, in hexadecimal or with parts left out.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Characters to encode; an existing %XX stays, for presigned links are signed with it.
_IN_PATH = re.compile(r"""%(?![0-9A-Fa-f]{2})|["<>`{}|^]|[^\x21-\x7e]""")
_IN_QUERY = re.compile(r"""%(?![0-9A-Fa-f]{2})|["<>]|[^\x21-\x7e]""")


@dataclass(frozen=True, slots=True)
class Url:
    """`host` is a name in lower case or an address without brackets; `path` and `query` are percent-encoded ASCII."""

    scheme: str
    host: str
    port: int
    path: str  # begins with /
    query: str | None = None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}" + ("" if self.query is None else f"?{self.query}")

    @property
    def shown(self) -> str:
        """For messages: without the query, where presigned links keep their secrets."""
        return f"{self.scheme}://{self.authority}{self.path}"[:200]

    def join(self, reference: str) -> Url:
        """What a Location header means here. Raises UrlRefused."""
        _check_characters(reference)
        if _SCHEME.match(reference):
            return parse_url(reference)
        if reference.startswith("//"):  # not urljoin, which reads "///host" as a path
            return parse_url(f"{self.scheme}:{reference}")
        return parse_url(urljoin(self.text, reference))


def parse_url(text: str) -> Url:
    """An http or https URL; its fragment is for the caller's eyes and is dropped. Raises UrlRefused."""
    _check_characters(text)
    found = _SHAPE.fullmatch(text)
    if found is None or found[1].lower() not in _PORTS or not found[2]:
        raise UrlRefused(f"only http and https URLs with a host are opened, not {_beginning(text)!r}")
    scheme, authority, path, query, fragment = found.groups()
    if fragment is not None and not path:
        raise UrlRefused("has a # right after the host: put a / before it")
    if "@" in authority:
        raise UrlRefused("has a user name or an @ before the host, which nobody here sends: take it out")
    host, port = _host_and_port(authority, scheme.lower())
    url = Url(scheme.lower(), host, port, _encoded(path or "/", _IN_PATH), query and _encoded(query, _IN_QUERY))
    _check_length(url.text)  # again: what was encoded is longer
    return url


def parse_base(text: str) -> str:
    """A URL that paths are added to, rebuilt, without a slash at its end. Raises UrlRefused."""
    url = parse_url(text)
    if "?" in text or "#" in text:
        raise UrlRefused("has a ? or a #, which would swallow the path that is added to it")
    return url.text.rstrip("/")


def _check_characters(text: str) -> None:
    _check_length(text)
    if found := _FORBIDDEN.search(text):
        what = {"\\": "a backslash", " ": "a space: write %20"}.get(found[0], "a control character or half a character")
        raise UrlRefused(f"is not a URL: has {what}")


def _check_length(text: str) -> None:
    if len(text) > LONGEST:
        raise UrlRefused(f"has {len(text)} characters; {LONGEST} are taken")


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise UrlRefused("is not a URL: brackets that do not match, or more than one port")
    host, port = _checked_host(found[1]), found[2]
    if port is None:
        return host, _PORTS[scheme]
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise UrlRefused(f"{port[:10]!r} is not a port")
    return host, int(port)


def _checked_host(host: str) -> str:
    if host.startswith("["):
        return _ipv6(host[1:-1])
    if not host.isascii():
        raise UrlRefused("has a host outside ASCII, which libraries translate differently: write it as xn--...")
    if "%" in host:
        raise UrlRefused("has a % in its host: write the host as it is")
    host = host.lower()
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise UrlRefused(f"is not a URL: {host[:40]!r} is not an IPv4 address as in 192.0.2.1") from None
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise UrlRefused(f"is not a URL: {host[:100]!r} is not the name of a host")
    return host


def _ipv6(text: str) -> str:
    try:
        # ipaddress takes zones and, by Python version, writes mapped addresses in two ways: the C library's is one.
        packed = ipaddress.IPv6Address(text if "%" not in text else "").packed
    except ValueError:
        raise UrlRefused(f"is not a URL: [{text[:60]}] is not an IPv6 address without a zone") from None
    return socket.inet_ntop(socket.AF_INET6, packed)


def _encoded(text: str, wrong: re.Pattern[str]) -> str:
    return wrong.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def _beginning(text: str) -> str:
    """Enough to find it by, and nothing that could be a password or a token."""
    return re.split(r"[?#]", text.rpartition("@")[2])[0][:60]
