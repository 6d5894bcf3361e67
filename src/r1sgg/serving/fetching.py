"""Images by URL: only from allowed hosts, only from public addresses, without redirects, with one time limit.

The name is resolved once. All of its addresses must be public, and the connection goes to the address that was checked;
so it does not help an attacker to change the name's address between check and use. Everything runs on the event loop,
so a slow host does not block a thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import quote, urlsplit

import h11

from r1sgg.errors import ImageError

_CHUNK = 1 << 16
_QUOTED = 200  # characters of a URL in a sentence

# IANA's registries of special-purpose addresses. All of IPv6 but 2000::/3 is left out at once: loopback, unspecified,
# IPv4-mapped ::ffff:0:0/96, IPv4-compatible ::/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48, discard 100::/64, unique
# local fc00::/7, link-local fe80::/10, site-local fec0::/10, multicast ff00::/8. NAT64, 6to4 and Teredo addresses hold
# an IPv4 address, which may be a private one; they are refused whatever it is.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = tuple(
    ipaddress.ip_network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)


async def fetch(
    url: str,
    hosts: Collection[str],
    *,
    most_bytes: int,
    seconds: float,
    keep: Callable[[bytes], Awaitable[None]],
) -> None:
    """Fetch a URL.

    Args:
        url: http or https, without user name, on the scheme's own port.
        hosts: allowed host names; ".example.org" allows all hosts of that domain.
        most_bytes: longer responses are refused.
        seconds: time limit of everything, from resolving the name to the last byte.
        keep: called with each part of the response.

    Raises:
        ImageError: the URL is not allowed (then nothing is contacted), or the response is not as expected.
    """
    host, secure, path = _allowed(url, hosts)
    try:
        async with asyncio.timeout(seconds):
            address = await _public_address(host, 443 if secure else 80)
            await _get(host, address, secure, path, most_bytes, keep)
    except TimeoutError as error:
        expected = f"an answer of {host} within {seconds:g} s"
        raise ImageError("url", expected=expected, found="none or a part") from error
    except (OSError, h11.ProtocolError) as error:
        raise ImageError("url", expected=f"an answer of {host}", found=f"{type(error).__name__}: {error}") from error


def _allowed(url: str, hosts: Collection[str]) -> tuple[str, bool, str]:
    """Return host, whether TLS is used, and path of an allowed URL."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise ImageError("url", expected="a URL", found=repr(url[:_QUOTED])) from error
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise ImageError("url", expected="http(s)://HOST/PATH", found=repr(url[:_QUOTED]))
    if port not in (None, 443 if secure else 80):
        raise ImageError("url", expected="the scheme's own port", found=str(port))
    if not any(host == h.lower() or (h.startswith(".") and host.endswith(h.lower())) for h in hosts):
        hint = "send the image"
        raise ImageError("url", expected="a host that this server allows", found=repr(host[:_QUOTED]), hint=hint)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, secure, quote(path, safe="%/?:@!$&'()*+,;=~-._", errors="replace")


async def _public_address(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ImageError("url", expected="a host that resolves", found=repr(host)) from error
    addresses = [str(row[4][0]) for row in found]
    for address in addresses:
        if not is_public(address):
            raise ImageError("url", expected="a public address", found=f"{host} at {address}", hint="send the image")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is a global unicast address outside all blocks for special purposes."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6 and found not in _GLOBAL_UNICAST:
        return False
    return found.is_global and not found.is_multicast and not any(found in block for block in _SPECIAL)


async def _get(
    host: str, address: str, secure: bool, path: str, most_bytes: int, keep: Callable[[bytes], Awaitable[None]]
) -> None:
    """Send one request to an address; with TLS, the certificate must be that of the host."""
    reader, writer = await _connect(host, address, secure)
    try:
        connection, size = h11.Connection(h11.CLIENT), 0
        headers = [("Host", host), ("Accept", "image/*"), ("Connection", "close")]
        writer.write(connection.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Response) and event.status_code != 200:
                found = str(event.status_code)
                raise ImageError("url", expected="status 200 (redirects are not followed)", found=found)
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > most_bytes:
                    raise ImageError("url", expected=f"at most {most_bytes:,} bytes", found="more")
                await keep(bytes(event.data))
    finally:
        writer.transport.abort()


async def _connect(host: str, address: str, secure: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not secure:
        return await asyncio.open_connection(address, 80)
    return await asyncio.open_connection(address, 443, ssl=ssl.create_default_context(), server_hostname=host)
