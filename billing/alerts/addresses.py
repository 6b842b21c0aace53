"""Where a webhook may lead. No Django here.

A team's admin writes the address, and this server calls it from inside its own network. So: https, the usual ports,
and public addresses of the internet alone, unless the operator has named the host (WEBHOOK_HOSTS). A name is resolved
once, all of its addresses are judged, and the connection goes to those very addresses (`billing.alerts.posting`).
"""

import ipaddress
from collections.abc import Collection, Iterable

from yarl import URL

from billing.errors import AddressRefused

PORTS = (443, 8443)
LONGEST = 500  # characters, as it is called: a letter that is not ASCII takes several

type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

GLOBAL_6 = ipaddress.IPv6Network("2000::/3")  # all that is in use as global unicast; everything else is special
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Within the ranges that `ipaddress` calls global, or did in one of its versions.
REFUSED_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT, and some clouds' metadata
            "192.0.0.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.175.48.0/24",
            "198.18.0.0/15",
            "224.0.0.0/3",  # multicast and what is reserved, broadcast too
        ),
    )
)
REFUSED_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, ORCHID, benchmarking
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address in disguise
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)


def parse(text: str, *, hosts: Collection[str]) -> URL:
    """The address as it will be called. `hosts`: those the operator has named, which may be anything; "name:8065" is
    named at this port alone.

    Raises AddressRefused.
    """
    try:
        url = URL(text.strip())
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise AddressRefused("malformed") from error
    if not host or len(str(url)) > LONGEST or any(ord(letter) < 33 for letter in text.strip()):
        raise AddressRefused("malformed")
    if url.scheme not in {"http", "https"}:
        raise AddressRefused("scheme")
    if url.user is not None or url.password is not None:
        raise AddressRefused("credentials")
    if not is_named(url, hosts):
        if url.scheme != "https":
            raise AddressRefused("scheme")
        if port not in PORTS:
            raise AddressRefused("port")
        _judge_literal(host)
    return url.with_fragment(None)


def is_named(url: URL, hosts: Collection[str]) -> bool:
    """With its port, or without one and then at any."""
    host = (url.raw_host or "").rstrip(".").lower()
    return host in hosts or (f"[{host}]:{url.port}" if ":" in host else f"{host}:{url.port}") in hosts


def judge(addresses: Iterable[str]) -> list[Ip]:
    """All of a name's addresses. One that is not public refuses the name. Raises AddressRefused."""
    found = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    if not found:
        raise AddressRefused("unknown")
    if not all(map(is_public, found)):
        raise AddressRefused("private")
    return found


def is_public(address: Ip) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in REFUSED_4)
    if address in NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in GLOBAL_6 and address.is_global and not any(address in network for network in REFUSED_6)


def _judge_literal(host: str) -> None:
    """What is an address already is refused at once, and not only when it is called."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    judge([str(address)])
