"""/metrics: what Prometheus may know of this process, for whoever has METRICS_TOKEN. Without one there is no such page.

Each web process tells of itself alone, and of the spools on its machine.
"""

import asyncio
import hmac
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from billing.alarms import spooled
from billing.errors import SpoolUnavailable
from billing.ledger.checks import last_check
from billing.models import DeadLetter
from billing.spool.shipper import spool_root
from billing.spool.writer import spool
from console import watchdog
from console.lifespan import listening, shipper
from gateway import measures
from gateway.snapshot import holder


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    body: bytes
    content_type: bytes


NOT_FOUND = Page(404, b"", b"text/plain")
NOT_KNOWN = Page(401, b"", b"text/plain")


async def metrics(headers: Mapping[bytes, bytes]) -> Page:
    """The page for a request with these headers."""
    token: str = settings.ENVIRONMENT.metrics_token
    if not token:
        return NOT_FOUND
    given = headers.get(b"authorization", b"")
    if not hmac.compare_digest(given, b"Bearer " + token.encode()):
        return NOT_KNOWN
    # In a thread: it looks at folders, and asks the database.
    body = await asyncio.to_thread(generate_latest, _registry)
    return Page(200, body, CONTENT_TYPE_LATEST.encode())


class _OfThisProcess(Collector):
    def collect(self) -> Iterator[Metric]:
        yield from measures.collect(tuple(holder.engines()))
        yield from _of_spools()
        yield from _of_the_log()
        lag = HistogramMetricFamily("tertulia_event_loop_lag_seconds", "How late the event loop comes round.")
        lag.add_metric([], watchdog.lag.buckets(), watchdog.lag.sum)
        yield lag


def _of_spools() -> Iterator[Metric]:
    found = spooled(spool_root())
    yield GaugeMetricFamily("tertulia_spool_files", "Files of spools on this machine.", value=found.files)
    yield GaugeMetricFamily("tertulia_spool_bytes", "Their size.", value=found.size)
    yield GaugeMetricFamily("tertulia_spool_put_aside", "Files that could not be read.", value=found.put_aside)
    yield GaugeMetricFamily("tertulia_spool_lag_seconds", "The age of what waits longest.", value=found.lag)
    yield CounterMetricFamily("tertulia_log_rows", "Rows that this process put into the log.", value=shipper.shipped)
    with suppress(SpoolUnavailable):
        own = spool()
        yield GaugeMetricFamily(
            "tertulia_spool_records", "Ended calls of this process, not in the log yet.", value=own.depth
        )
        yield GaugeMetricFamily("tertulia_spool_writable", "0: its disk is full.", value=own.writable)


def _of_the_log() -> Iterator[Metric]:
    here = listening.database_answers and holder.fresh
    yield GaugeMetricFamily("tertulia_database_up", "Whether PostgreSQL answers.", value=here)
    if not here:  # a try would wait for the pool to give up
        return
    try:
        letters = DeadLetter.objects.count()
        check = last_check()
    except DatabaseError:
        return
    finally:
        connection.close()
    yield GaugeMetricFamily("tertulia_dead_letters", "Records that the log refused.", value=letters)
    if check is not None:
        yield GaugeMetricFamily("tertulia_charts_agree", "0: they differ from the log.", value=check.agrees)
        yield GaugeMetricFamily(
            "tertulia_charts_checked_timestamp_seconds", "When they were compared.", value=check.at.timestamp()
        )


_registry = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=_registry)
PlatformCollector(registry=_registry)
_registry.register(_OfThisProcess())
