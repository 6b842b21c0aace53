"""The usage pages on a year of ten million calls: 200 teams, 2,000 keys, 40 models.

    python -m bench.reports [--rows 10000000] [--kept FOLDER]

Each view is asked for again and again through Django's whole request cycle, in this process, and the time told is that
of the server: session, access, queries, charts, template. The page that asks PostgreSQL for `SELECT 1` alone is asked
in turns with them, and tells how busy the machine was. The busiest team has a fourteenth of all traffic, the middle one
a four-hundredth. First on a tenth of the rows, then on all: the ratio says whether a view grows with the log.
With `--kept` the filled database stays there and is used again.
"""

import argparse
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.filled import fill
from bench.scratch import scratch

TEAMS, KEYS, MODELS = 200, 2_000, 40
ROUNDS = 40
TEAM_30_DAYS, TEAM_YEAR, PLATFORM_YEAR = 60, 120, 300  # bars, ms p95


@dataclass(frozen=True)
class View:
    name: str
    path: str
    bar: int  # ms


def views(slug: str, whose: str) -> list[View]:
    found = []
    for group in ("model", "key", "member", "origin", "outcome", "tokens"):
        for days, span, bar in (("30 days", "period=30d", TEAM_30_DAYS), ("a year", YEAR, TEAM_YEAR)):
            path = f"/t/{slug}/usage/?{span}&group={group}&compare=before"
            found.append(View(f"{whose}, {days}, by {group}", path, bar))
    for span_said, span, bar in (("30 days", "period=30d", TEAM_30_DAYS), ("a year", YEAR, TEAM_YEAR)):
        path = f"/t/{slug}/usage/?{span}&group=tokens&metric=cost&compare=before"
        found.append(View(f"{whose}, {span_said}, cost by type", path, bar))
    found.append(View(f"{whose}, 30 days, lower half", f"/t/{slug}/usage/?part=below", TEAM_30_DAYS))
    found.append(View(f"{whose}, a year, lower half", f"/t/{slug}/usage/?{YEAR}&part=below", TEAM_YEAR))
    found.append(
        View(f"{whose}, half a year by day, by key", f"/t/{slug}/usage/?{HALF}&bucket=day&group=key", TEAM_YEAR)
    )
    found.append(View(f"{whose}, a year, filters", f"/t/{slug}/usage/?{YEAR}&part=filters", TEAM_YEAR))
    found.append(View(f"{whose}, a year, one model", f"/t/{slug}/usage/?{YEAR}&model=model-1", TEAM_YEAR))
    found.append(View(f"{whose}, a year in UTC", f"/t/{slug}/usage/?{YEAR}&zone=UTC", TEAM_YEAR))
    return found


def platform_views() -> list[View]:
    found = [
        View(f"platform, a year, by {group}", f"/operator/usage/?{YEAR}&group={group}&compare=before", PLATFORM_YEAR)
        for group in ("team", "model", "origin", "outcome")
    ]
    return [*found, View("platform, a year, filters", f"/operator/usage/?{YEAR}&part=filters", PLATFORM_YEAR)]


TODAY = datetime.now(UTC).date()
HALF = f"period=custom&first={(TODAY - timedelta(days=185)).isoformat()}&last={TODAY.isoformat()}"  # the most in days
YEAR = f"period=custom&first={TODAY.replace(year=TODAY.year - 1).isoformat()}&last={TODAY.isoformat()}"


def main(rows: int, slices: list[int], filled_already: bool) -> None:
    from django.core.management import call_command  # once Django is set up
    from django.db import connection
    from django.test import Client

    from accounts.models import Membership, Role, Team, User
    from billing.ledger import auditing
    from billing.ledger.partitions import ensure_partitions, months_before

    firsts = [months_before(TODAY, ago) for ago in range(12, -2, -1)]
    if not filled_already:
        ensure_partitions(firsts)
        for number in range(TEAMS):
            Team.objects.create(slug=f"bench-{number}", name=f"Bench {number}", time_zone="Europe/Paris")
        user = User.objects.create_user("bench@localhost", is_operator=True)
        for team in Team.objects.filter(slug__in=("bench-0", "bench-100")):
            Membership.objects.create(team=team, user=user, role=Role.ADMIN)
    logging.disable(logging.WARNING)  # a line for each page
    first = Team.objects.order_by("pk").first()
    assert first is not None
    user = User.objects.get(email="bench@localhost")
    call_command("collectstatic", interactive=False, verbosity=0)
    client = Client()
    client.force_login(user)
    told: dict[str, list[float]] = {}
    for part in slices:
        began = time.perf_counter()
        if filled_already:  # an older version's may have got new tables
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
                cursor.execute("CHECKPOINT")  # what is still on its way to the disk would slow the first views down
        if not filled_already:
            fill(
                first_team=first.pk, teams=TEAMS, keys=KEYS // TEAMS, models=MODELS, rows=part, months=firsts, power=2
            )  # fmt: skip
            auditing.rebuild()
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
                cursor.execute("CHECKPOINT")  # what is still on its way to the disk would slow the first views down
            print(f"{part:,} more rows in {time.perf_counter() - began:.0f} s: {sizes()}", flush=True)
        busiest, middle = (views(f"bench-{number}", whose) for number, whose in ((0, "busiest"), (100, "middle")))
        for view in (*busiest, *middle, *platform_views()):
            took = measure(client, view.path)
            if took is None:
                continue
            told.setdefault(view.name, []).append(took.p95)
            grown = f", {took.p95 / told[view.name][0]:.1f} × the first" if len(told[view.name]) > 1 else ""
            print(
                f"{view.name:38} {took.middle:6.0f} ms p50 {took.p95:6.0f} p95 (bar {view.bar})"
                f"{'' if took.p95 <= view.bar else '  MISSED'}; SELECT 1 {took.calibrator:4.1f}{grown}",
                flush=True,
            )


@dataclass(frozen=True)
class Took:
    """Milliseconds."""

    middle: float
    p95: float
    calibrator: float


def measure(client: "object", path: str) -> Took | None:
    from django.db import connection

    asked, idle = [], []
    for number in range(ROUNDS + 2):
        began = time.perf_counter()
        answer = client.get(path, HTTP_HOST="localhost")  # type: ignore[attr-defined]
        took = time.perf_counter() - began
        if answer.status_code != 200:
            print(f"{path}: {answer.status_code}")
            return None
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if number > 1:  # the first ones fill caches
            asked.append(took * 1000)
            idle.append((time.perf_counter() - began) * 1000)
    return Took(median(asked), sorted(asked)[int(len(asked) * 0.95)], median(idle))


def sizes() -> str:
    from django.db import connection

    from billing.ledger.rollups import levels

    with connection.cursor() as cursor:
        found = []
        for level in levels():
            cursor.execute(f"SELECT count(*) FROM {level.table}")  # noqa: S608  our own name
            found.append(f"{cursor.fetchone()[0]:,} in {level.table}")
    return ", ".join(found)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--kept", type=Path)
    given = options.parse_args()
    there = bool(given.kept and (given.kept / "postgres").exists())
    with scratch(given.kept):
        main(given.rows, [given.rows] if there else [given.rows // 10, given.rows * 9 // 10], there)
