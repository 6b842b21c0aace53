"""One call to a webhook: to the addresses that were judged, once, with an end to everything.

No redirects, no cookies, no proxy of the environment, no more of the answer than its beginning.
"""

import asyncio
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from billing.alerts.addresses import is_named, judge
from billing.errors import AddressRefused

CONNECT, WHOLE = 5.0, 10.0  # seconds
READ = 200  # bytes of the answer that are kept
AGENT = "Tertulia-Webhook/1"

# Resolving cannot be given up, so its threads are nobody's: a name server that is silent holds up no call but its own.
_names = ThreadPoolExecutor(8, thread_name_prefix="names")

type Lookup = Callable[[str, int], Collection[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: nothing came, and `text` says why not."""

    status: int
    text: str

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """It does not want to be called any more."""
        return self.status == 410


def addresses_of(host: str, port: int) -> list[str]:
    """As the system resolves it. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def post(
    url: URL, body: bytes, headers: dict[str, str], *, hosts: Collection[str] = (), lookup: Lookup = addresses_of
) -> Answer:
    """Never raises for what the other side does or is."""
    try:
        return asyncio.run(_post(url, body, headers, hosts, lookup))
    except AddressRefused as error:
        return Answer(0, error.reason)
    except TimeoutError:
        return Answer(0, "no answer in time")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(0, type(error).__name__)


async def _post(url: URL, body: bytes, headers: dict[str, str], hosts: Collection[str], lookup: Lookup) -> Answer:
    async with asyncio.timeout(WHOLE):
        loop = asyncio.get_running_loop()
        host, port = url.raw_host or "", url.port or 443
        async with asyncio.timeout(CONNECT):
            found = await loop.run_in_executor(_names, lookup, host, port)
        addresses = list(found) if is_named(url, hosts) else [str(address) for address in judge(found)]
        connector = aiohttp.TCPConnector(
            resolver=_Resolved(addresses), socket_factory=_only(addresses), force_close=True, use_dns_cache=False
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT),
        )
        async with (
            session,
            session.post(url, data=body, headers={"user-agent": AGENT, **headers}, allow_redirects=False) as response,
        ):
            return Answer(response.status, printable(await response.content.read(READ)))


def printable(answer: bytes) -> str:
    """What the other side says, without what no text holds (PostgreSQL takes no NUL) or what turns around a line."""
    return "".join(letter if letter.isprintable() else " " for letter in answer.decode("utf-8", "replace")).strip()


class _Resolved(AbstractResolver):
    """Answers with what was judged, whatever is asked."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


def _only(addresses: list[str]) -> Callable[[Any], socket.socket]:
    """Where a socket is made, and so the last to see the address: nothing but what was judged gets one."""

    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, place = info
        if place[0] not in addresses:
            raise AddressRefused("private")
        return socket.socket(family, kind, protocol)

    return make
