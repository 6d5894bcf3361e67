"""Images by URL, for a server that allows it: only named hosts, only public addresses, no redirects.

The name is resolved once; every address that it has must be public, and the connection goes to the address that was
checked, so a name that changes its mind between check and use gains nothing.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

from r1sgg.errors import ImageError

_CHUNK = 1 << 16


def fetch(url: str, hosts: Collection[str], *, most_bytes: int, seconds: float) -> bytes:
    """The bytes behind a URL.

    Args:
        url: http or https, without user name, on its scheme's own port.
        hosts: names that may be asked; ".example.org" stands for all of that domain.
        most_bytes: longer answers are refused.
        seconds: time-out of each network operation.

    Raises:
        ImageError: the URL is not allowed, or gives no answer of this kind; nothing is contacted if it isn't allowed.
    """
    parts = urlsplit(url)
    host, secure = (parts.hostname or "").lower(), parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise ImageError("url", expected="http(s)://HOST/PATH", found=repr(url[:200]))
    try:
        own_port = parts.port in (None, 443 if secure else 80)
    except ValueError as error:
        raise ImageError("url", expected="a port number", found=repr(url[:200])) from error
    if not own_port:
        raise ImageError("url", expected="the scheme's own port", found=str(parts.port))
    if not any(host == h.lower() or (h.startswith(".") and host.endswith(h.lower())) for h in hosts):
        raise ImageError("url", expected="a host that this server allows", found=repr(host), hint="send the image")
    address = _public_address(host, 443 if secure else 80)
    connection = _connection(host, address, secure, seconds)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={"Host": host, "Accept": "image/*"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise ImageError("url", expected="status 200 (redirects are not followed)", found=str(answer.status))
        body = bytearray()
        while chunk := answer.read(_CHUNK):
            body += chunk
            if len(body) > most_bytes:
                raise ImageError("url", expected=f"at most {most_bytes:,} bytes", found="more")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("url", expected=f"an answer of {host}", found=f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return bytes(body)


def _public_address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError("url", expected="a host that resolves", found=repr(host)) from error
    addresses = [str(row[4][0]) for row in found]
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if not mapped.is_global or mapped.is_multicast:
            raise ImageError("url", expected="a public address", found=f"{host} at {text}", hint="send the image")
    return addresses[0]


def _connection(host: str, address: str, secure: bool, seconds: float) -> http.client.HTTPConnection:
    """A connection to an address that speaks as to the host (its certificate is checked against the name)."""
    if not secure:
        return http.client.HTTPConnection(address, timeout=seconds)
    context = ssl.create_default_context()
    connection = http.client.HTTPSConnection(host, timeout=seconds, context=context)
    try:
        plain = socket.create_connection((address, 443), seconds)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
    except OSError as error:
        raise ImageError("url", expected=f"a connection to {host}", found=f"{type(error).__name__}: {error}") from error
    return connection
