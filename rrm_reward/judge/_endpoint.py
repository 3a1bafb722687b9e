r"""Where a judge is: a base URL taken apart, and the bytes that every request to it begins with.

    >>> endpoint = Endpoint.parse("https://me:secret@judge.example/team/v1?version=2")
    >>> endpoint.host, endpoint.port
    ('judge.example', 443)
    >>> endpoint.request("GET", "/models").split(b"\r\n")[0]
    b'GET /team/v1/models?version=2 HTTP/1.1'

Credentials in the URL are sent as Basic authorization, and win over a key; no message holds them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from rrm_reward.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_KEEP = "/%:@!$&'()*+,;=~-._?"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL.

    Attributes:
        host: name or address, without the brackets of IPv6.
        port: TCP port.
        tls: whether the scheme is https.
        path: of the base URL, without a slash at its end.
        query: with its question mark, or empty.
        headers: lines of every request but the first and the length, each with its line end.
        authorized: whether credentials are sent.
    """

    host: str
    port: int
    tls: bool
    path: str
    query: str
    headers: bytes
    authorized: bool

    @classmethod
    def parse(cls, url: str, *, api_key: str | None = None) -> Self:
        """Take a base URL apart.

        Args:
            url: ``http[s]://[user:password@]host[:port][/path][?query]``.
            api_key: sent as a bearer token where the URL holds no credentials.

        Raises:
            ConfigError: there is no such URL, or no such key.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname
            ascii_host = host if host is None or host.isascii() else host.encode("idna").decode()
        except ValueError as error:  # UnicodeError among them
            raise ConfigError("judge.urls", url, f"is no URL ({error})") from None
        if parts.scheme not in _PORTS or not ascii_host:
            raise ConfigError("judge.urls", url, "write http://host:port/v1")
        default = _PORTS[parts.scheme]
        netloc = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
        if port not in (None, default):
            netloc += f":{port}"
        path = quote(parts.path.rstrip("/"), safe=_KEEP)
        query = f"?{quote(parts.query, safe=_KEEP)}" if parts.query else ""
        authorization = _authorization(parts.username, parts.password, api_key)
        lines = {
            "Host": netloc,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "rrm-reward",
            **({"Authorization": authorization} if authorization else {}),
        }
        return cls(
            host=ascii_host,
            port=default if port is None else port,
            tls=parts.scheme == "https",
            path=path,
            query=query,
            headers="".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii"),
            authorized=bool(authorization),
        )

    def request(self, method: str, path: str) -> bytes:
        """A request without a body: ``path`` is put between the base URL's path and its query."""
        return self.head(method, path) + b"\r\n"

    def head(self, method: str, path: str) -> bytes:
        """The lines of a request up to those that describe its body.

        A path that begins with ``/..`` leads one level up from the base URL, as in any relative URL.
        """
        base = self.path
        while path.startswith("/../"):
            base, path = base.rpartition("/")[0], path[3:]
        return f"{method} {base}{path}{self.query} HTTP/1.1\r\n".encode("ascii") + self.headers


def _authorization(user: str | None, password: str | None, api_key: str | None) -> str:
    if user is not None or password is not None:
        pair = f"{unquote(user or '')}:{unquote(password or '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    key = (api_key or "").strip()
    if not key:
        return ""
    if not (key.isascii() and key.isprintable()):
        # The key itself must not appear in a message.
        raise ConfigError("judge.api_key_env", "a key", "holds characters that no HTTP header can carry")
    return f"Bearer {key}"
