"""The log as files: the same rows in three forms, marked, guarded, in the team's time, and streamed by the server."""

import csv
import http.client
import io
import json
import random
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Team, User
from billing.ledger import log as ledger
from billing.ledger.months import close_month
from billing.log import files as log_files
from billing.log.files import FIELDS, Form, lines, records
from billing.usage.exports import text_of_cell
from billing.usage.periods import Period
from billing.usage.questions import Question, Scope
from tests.billing.traffic import PRICE, counts, ended, milliseconds, random_traffic
from tests.server import SECRET, LiveServer

UTC_ZONE = ZoneInfo("UTC")


def text(question: Question, form: Form) -> str:
    return b"".join(lines(question, form)).decode()


def of(team: Team, first: date, last: date) -> Question:
    return Question(Scope(team), Period(first, last, ZoneInfo(team.time_zone)))


@pytest.fixture
def autumn(red: Team) -> Question:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    question = of(red, date(2026, 10, 20), date(2026, 11, 10))
    period = question.period
    made = random_traffic(red.pk, 200, begin=period.begin, end=period.end, chance=random.Random(3), keys=[1, 2])
    ledger.write(made)
    return question


@pytest.mark.spec("U3")
def test_the_three_forms_hold_the_same_rows(autumn: Question) -> None:
    by_lines = list(records(autumn))
    assert len(by_lines) == 200
    assert json.loads(text(autumn, Form.JSON)) == by_lines
    table = list(csv.DictReader(io.StringIO(text(autumn, Form.CSV))))
    assert list(table[0]) == list(FIELDS)
    written = [
        {
            name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in line.items()
        }
        for line in by_lines
    ]
    assert [{name: text_of_cell(cell) for name, cell in row.items()} for row in table] == written


def test_times_have_the_offset_of_their_moment(red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Europe/Paris")
    red.refresh_from_db()
    night = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the clocks go back an hour later
    ledger.write([ended(red.pk, at_ms=milliseconds(night + hours)) for hours in (timedelta(0), timedelta(hours=1))])
    found = [line["at"] for line in records(of(red, date(2026, 10, 25), date(2026, 10, 25)))]
    assert found == ["2026-10-25T02:30:00.000+02:00", "2026-10-25T02:30:00.000+01:00"]


def test_what_no_engine_counted_is_marked_in_each_row(red: Team) -> None:
    ledger.write(
        [ended(red.pk, counts(1, 1, source)) for source in ("upstream", "counted", "estimated", "upstream_partial")]
    )
    today = timezone.now().date()
    found = {line["prompt_source"]: line["estimated"] for line in records(of(red, today, today))}
    assert found == {"upstream": False, "counted": True, "estimated": True, "upstream_partial": False}


@pytest.mark.spec("S16")
def test_no_name_becomes_a_formula_and_none_is_lost(red: Team) -> None:
    names = ["=1+1", "+1", "-1", "@x", "\tx", "'x", 'a "b", c', "back\\slash \\n", "línea\nnueva", "\x02\x01", "ñ🎉"]
    ledger.write([ended(red.pk, key_name=name, model=name, price=PRICE) for name in names])
    today = timezone.now().date()
    question = of(red, today, today)
    assert sorted(line["key"] for line in records(question)) == sorted(names)
    table = list(csv.DictReader(io.StringIO(text(question, Form.CSV), newline="")))
    assert sorted(text_of_cell(row["model"]) for row in table) == sorted(names)
    assert not any(row["key"].startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for row in table)
    assert {row["cost"] for row in table} == {"0.000029"}


def test_a_file_is_made_in_portions_and_is_the_same(autumn: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text(autumn, Form.JSON)
    monkeypatch.setattr(log_files, "PORTION", 7)
    pieces = list(lines(autumn, Form.JSON))
    assert len(pieces) > 20
    assert b"".join(pieces).decode() == whole


def test_a_quarter_of_an_hour_with_very_many_is_cut_too(red: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
    ledger.write([ended(red.pk, at_ms=milliseconds(begin + timedelta(seconds=9 * place))) for place in range(100)])
    monkeypatch.setattr(log_files, "PORTION", 10)
    pieces = [piece for piece in lines(of(red, begin.date(), begin.date()), Form.NDJSON) if piece]
    assert sum(piece.count(b"\n") for piece in pieces) == 100
    assert max(piece.count(b"\n") for piece in pieces) <= 12


@pytest.mark.spec("U3")
def test_very_many_that_came_after_their_month_was_closed_are_cut_too(
    red: Team, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = datetime(2026, 9, 3, 10, 0, tzinfo=UTC)
    close_month(team=red, month=begin.date(), by=alice)
    october = of(red, date(2026, 10, 1), date(2026, 10, 31))
    late = [ended(red.pk, at_ms=milliseconds(begin + timedelta(seconds=place // 2))) for place in range(100)]
    ledger.write([*late, ended(red.pk, at_ms=milliseconds(begin + timedelta(days=40)))])
    whole = list(records(october))
    in_order = sorted(late, key=lambda one: (one.start.at_ms, one.start.id))
    assert [line["request_id"] for line in whole[:-1]] == [str(one.start.id) for one in in_order]
    monkeypatch.setattr(log_files, "PORTION", 10)
    pieces = [piece for piece in lines(october, Form.NDJSON) if piece]
    assert max(piece.count(b"\n") for piece in pieces) <= 12
    assert [json.loads(line) for line in b"".join(pieces).splitlines()] == whole


@pytest.mark.django_db
def test_the_zone_of_a_file_is_nobody_elses(autumn: Question) -> None:
    assert list(records(autumn))
    with connection.cursor() as cursor:
        cursor.execute("SHOW timezone")
        assert cursor.fetchone() == ("UTC",)


def test_the_command_writes_the_same_bytes_as_the_page(client: Client, alice: User, autumn: Question) -> None:
    client.force_login(alice)
    team = autumn.scope.team
    assert team is not None
    for form, name in ((Form.CSV, "log-csv"), (Form.NDJSON, "log-ndjson")):
        out = io.StringIO()
        call_command("usage_export", team=team.slug, first="2026-10-20", last="2026-11-10", format=form, stdout=out)
        place = reverse(f"billing:{name}", args=[team.slug])
        response = client.get(place, {"period": "custom", "first": "2026-10-20", "last": "2026-11-10"})
        assert b"".join(response.streaming_content).decode() == out.getvalue()  # type: ignore[attr-defined]
        assert response["Content-Disposition"] == f'attachment; filename="red-log-2026-10-20-2026-11-10.{form}"'
        assert "no-store" in response["Cache-Control"]


def test_a_file_of_days_that_cannot_be_is_refused(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    place = reverse("billing:log-csv", args=[red.slug])
    response = client.get(place, {"period": "custom", "first": "2026-11-10", "last": "2026-11-01"})
    assert response.status_code == 422
    assert response.content.decode() == "This day is before the first one."


@pytest.fixture
def signed_in(transactional_db: None, alice: User, red: Team, settings: pytest.FixtureRequest) -> str:
    settings.SECRET_KEY = SECRET  # type: ignore[attr-defined]  # as the server has it, whose cookie this is
    client = Client()
    client.force_login(alice)
    return f"session={client.cookies['session'].value}"


def begun(server: LiveServer, cookie: str, address: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", address, headers={"host": f"localhost:{server.port}", "cookie": cookie})
    return connection, connection.getresponse()


@pytest.fixture
def full_day(red: Team, transactional_db: None) -> int:
    """Rows enough for several portions, made by PostgreSQL; the roll-ups from them."""
    from billing.ledger.auditing import rebuild

    count = 60_000
    ledger.write([ended(red.pk)])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_usage (id, team_id, at, booked_at, origin, endpoint, stream, key_name, member_name,"
            " end_user, model, engine, engine_type, machine, answer_id, client_request_id, prompt_tokens,"
            " completion_tokens, prompt_source, completion_source, anomaly, outcome, status, duration_ms)"
            " SELECT gen_random_uuid(), %s, moment, moment, 'api', 'chat.completions', true, 'key', '', '', 'llama',"
            " 'engine', 'vllm', '', '', '', 10, 5, 'upstream', 'upstream', '', 'ok', 200, 5"
            " FROM (SELECT date_trunc('second', now()) - number * interval '7 milliseconds' AS moment"
            " FROM generate_series(1, %s) number) made",
            [red.pk, count - 1],
        )
    rebuild()
    return count


@pytest.mark.spec("H1")
@pytest.mark.parametrize("command", ["serve", "uvicorn"])
def test_the_server_streams_the_file_and_stops_for_who_leaves(
    command: str, signed_in: str, red: Team, full_day: int
) -> None:
    address = reverse("billing:log-csv", args=[red.slug]) + "?period=7d"
    with LiveServer(command) as server:
        connection_, answer = begun(server, signed_in, address)
        assert answer.status == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        body = answer.read()
        connection_.close()
        assert body.count(b"\n") == full_day + 1
        assert body.endswith(b"\n")

        slow, answer = begun(server, signed_in, address)
        begin = answer.read(1000)
        assert quiet(), "one who does not read holds PostgreSQL"
        assert (begin + answer.read()).count(b"\n") == full_day + 1
        slow.close()

        leaving, answer = begun(server, signed_in, address)
        answer.read(1000)
        answer.close()
        leaving.close()
        assert quiet(), "PostgreSQL still works for the one who left"
        assert "Traceback" not in server.log()


def quiet() -> bool:
    """Whether nobody copies from the log or holds a transaction after it, within ten seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
                " AND (state = 'active' AND query LIKE 'COPY (%' OR state LIKE 'idle in transaction%')"
            )
            if cursor.fetchone() == (0,):
                return True
        time.sleep(0.05)
    return False
