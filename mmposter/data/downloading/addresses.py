"""Which addresses belong to the network that this machine is in, and not to the public internet."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urlsplit


def leads_inside(link: str, target: str) -> bool:
    """Whether a redirect would turn a public server's answer into a request to a machine of one's own network.

    A table may name servers of one's own network, and these may lead on among each other: whoever types the table
    knows them. A public server may not choose what is asked there.
    """
    return _is_inside(urlsplit(target).hostname or "") and not _is_inside(urlsplit(link).hostname or "")


@lru_cache(maxsize=4096)
def _is_inside(host: str) -> bool:
    """Loopback, private and link-local addresses, and names that lead to one; a name that leads nowhere does not."""
    try:
        # The system also reads 127.1 and 2130706433 as addresses, so that it is asked for every name.
        found = [host] if _is_address(host) else _addresses(host)
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in found)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _addresses(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
