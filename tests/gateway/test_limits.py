"""Limits on /v1: who is refused, what he is told, and that a refused call counts nowhere."""

import time
from collections.abc import Callable, Iterator

import pytest

from accounts import revision
from accounts.models import ApiKey, Team, User
from billing.limits.limiter import limiter
from billing.limits.tiers import add_tier, give_tier, limit_key, limit_member
from billing.limits.windows import Bounds
from billing.spool.writer import spool
from gateway.snapshot import holder
from tests.factories import make_key
from tests.gateway.conftest import Api
from tests.redisd import RedisServer


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    limiter.counters.clear()
    yield
    limiter.counters.clear()


def limited(api: Api, **bounds: int) -> ApiKey:
    """The key that the tests call with, under these limits."""
    key = ApiKey.objects.select_related("team").get()
    limit_key(key=key, bounds=Bounds(**bounds), by=None)
    api.reload()
    return key


def rates(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name.startswith("x-ratelimit")}  # type: ignore[call-overload]


@pytest.mark.spec("U4", "U5")
@pytest.mark.parametrize("stream", [True, False])
def test_the_first_call_too_many_is_refused_and_told_when_to_come_again(api: Api, stream: bool) -> None:
    limited(api, requests_per_minute=2)
    now = time.time()
    answers = [api.chat(stream=stream) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert now < int(answer.headers["x-ratelimit-reset-requests"]) <= now + 70
        assert answer.headers["x-ratelimit-window"] == "requests-per-minute;of=key"
    error = answers[2].json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert error["message"].startswith("Rate limit reached: this API key may have 2 requests a minute. Try again in ")
    assert 50 <= int(answers[2].headers["retry-after"]) <= 120
    assert len(api.rows(2)) == 2
    assert len(api.engine.completions()) == 2


@pytest.mark.spec("U4", "U5")
def test_completions_and_embeddings_count_and_are_told_as_well(api: Api) -> None:
    limited(api, requests_per_minute=2)
    first = api.client.post("/v1/completions", json={"model": "plain", "prompt": "x"})
    second = api.client.post("/v1/embeddings", json={"model": "fault:embed", "input": "x"})
    third = api.client.post("/v1/completions", json={"model": "plain", "prompt": "x"})
    assert [one.status_code for one in (first, second, third)] == [200, 200, 429]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second, third)] == ["1", "0", "0"]


@pytest.mark.spec("U4")
@pytest.mark.parametrize("stream", [True, False])
def test_tokens_count_as_the_log_has_them_once_the_answer_has_ended(api: Api, stream: bool) -> None:
    key = limited(api, tokens_per_minute=40, output_tokens_per_day=1000)
    answers = [api.chat(stream=stream) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    rows = api.rows(2)
    tokens, output = (sum(getattr(row, f"{name}_tokens") for row in rows) for name in ("prompt", "completion"))
    found = api.client.get("/v1/usage").json()["limits"]
    assert [(one["of"], one["window"], one["used"]) for one in found] == [
        ("key", "tokens-per-minute", tokens + output),
        ("key", "output-tokens-per-day", output),
    ]
    assert [answer.headers["x-ratelimit-remaining-tokens"] for answer in answers] == ["40", "14", "0", "0"]
    assert "x-ratelimit-limit-requests" not in answers[0].headers
    assert answers[3].headers["x-ratelimit-window"] == "tokens-per-minute;of=key"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 65
    assert key.pk == rows[0].key_id


@pytest.mark.spec("U4", "U5")
def test_the_first_limit_that_is_full_refuses_and_says_whose_it_is(api: Api, red: Team, alice: User) -> None:
    personal = make_key(red, owner=alice)
    tier = add_tier(name="Small", bounds=Bounds(requests_per_minute=100, tokens_per_day=1_000_000), by=None)
    give_tier(team=red, tier=tier, by=None)
    limit_key(key=personal.key, bounds=Bounds(requests_per_minute=9), by=None)
    limit_member(team=red, user=alice, bounds=Bounds(requests_per_day=1), by=None)
    api.reload()
    api.client.headers["authorization"] = f"Bearer {personal.secret}"
    first, second = api.chat(), api.chat()
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["x-ratelimit-window"] == "requests-per-day;of=member, tokens-per-day;of=team"
    assert second.json()["error"]["message"].startswith("Rate limit reached: you may have 1 requests a day. Try again ")
    assert second.headers["x-ratelimit-window"] == "requests-per-day;of=member, tokens-per-day;of=team"
    found = api.client.get("/v1/usage").json()["limits"]
    assert [(one["of"], one["window"], one["used"], one["remaining"]) for one in found] == [
        ("team", "requests-per-minute", 1, 99),
        ("team", "tokens-per-day", 26, 999_974),
        ("key", "requests-per-minute", 1, 8),
        ("member", "requests-per-day", 1, 0),
    ]
    api.client.headers["authorization"] = f"Bearer {api.secret}"  # the team's other key goes on
    assert api.chat().status_code == 200


@pytest.mark.spec("U5")
def test_a_day_says_how_long_it_is_until_midnight(api: Api, red: Team) -> None:
    Team.objects.filter(pk=red.pk).update(time_zone="Asia/Kathmandu")
    limited(api, requests_per_day=1)
    api.chat()
    refused = api.chat()
    midnight = int(refused.headers["x-ratelimit-reset-requests"])
    assert midnight % 86_400 == 65_700  # 18:15 UTC
    assert abs(int(refused.headers["retry-after"]) - (midnight - time.time())) < 5 or midnight - time.time() < 125
    assert "Try again after " in refused.json()["error"]["message"] or midnight - time.time() < 125


@pytest.mark.spec("U4")
def test_requests_at_once_are_free_again_however_a_call_ends(api: Api) -> None:
    limited(api, concurrent_requests=1)
    body = {"model": "fault:drip?n=1000&gap=10", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    api.serve("fault:drip?n=1000&gap=10")
    with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = response.iter_raw()
        next(pieces)
        refused = api.chat()
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 6
        assert refused.headers["x-ratelimit-window"] == "concurrent-requests;of=key"
        assert "x-ratelimit-limit-requests" not in refused.headers
    api.engine.wait_for(lambda: limiter.counters._meters[f"key/{ApiKey.objects.get().pk}"].running == 0)
    for model in ("fault:status", "fault:cut?after=7", "fault:rst"):
        api.serve(model)
        api.chat(model, stream=True)
    assert api.chat().status_code == 200


@pytest.mark.spec("U5")
def test_who_is_not_limited_is_told_of_no_limit(api: Api) -> None:
    assert rates(api.chat().headers) == {}
    assert api.client.get("/v1/usage").json()["limits"] == []


@pytest.mark.spec("U5")
def test_a_call_that_an_engine_fails_tells_the_limits_too_and_counts(api: Api) -> None:
    limited(api, requests_per_minute=5)
    failed = api.chat("fault:status")
    assert (failed.status_code, failed.headers["x-ratelimit-remaining-requests"]) == (502, "4")
    assert api.chat("none").status_code == 404
    assert api.chat(temperature=9).status_code == 400
    assert api.chat().headers["x-ratelimit-remaining-requests"] == "3"


@pytest.mark.spec("U5", "H4")
def test_a_page_from_elsewhere_may_read_the_headers(api: Api, quick: Callable[..., None]) -> None:
    quick(cors_origins=("https://app.example.org",))
    limited(api, requests_per_minute=5, tokens_per_day=100)
    answer = api.client.post(
        "/v1/chat/completions",
        json={"model": "plain", "messages": [{"role": "user", "content": "x"}]},
        headers={"origin": "https://app.example.org"},
    )
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert len(rates(answer.headers)) == 7
    assert rates(answer.headers).keys() <= exposed


@pytest.mark.spec("U4")
def test_a_process_that_begins_takes_up_what_the_log_knows_of_the_day(api: Api) -> None:
    key = limited(api, requests_per_day=5, output_tokens_per_day=1000)
    for _ in range(3):
        api.chat()
    output = sum(row.completion_tokens for row in api.rows(3))
    before = api.client.get("/v1/usage").json()["limits"]
    limiter.counters.clear()  # as a process that begins
    api.reload()
    assert api.client.get("/v1/usage").json()["limits"] == before
    assert [one["used"] for one in before] == [3, output]
    assert [api.chat().status_code for _ in range(3)] == [200, 200, 429]
    assert key.pk


@pytest.mark.spec("U4")
def test_a_limit_that_is_changed_holds_at_once_and_remembers(api: Api) -> None:
    key = limited(api, requests_per_minute=1)
    assert [api.chat().status_code for _ in range(2)] == [200, 429]
    limit_key(key=key, bounds=Bounds(requests_per_minute=2), by=None)
    api.reload()
    assert [api.chat().status_code for _ in range(2)] == [200, 429]
    limit_key(key=key, bounds=Bounds(), by=None)
    api.reload()
    assert api.chat().status_code == 200


@pytest.mark.spec("U4")
def test_who_is_limited_in_the_middle_of_a_day_has_used_what_he_has_used(api: Api) -> None:
    for _ in range(3):
        api.chat()
    api.rows(3)
    key = ApiKey.objects.select_related("team").get()
    limit_key(key=key, bounds=Bounds(requests_per_day=4), by=None)
    api.run(holder.refresh())
    assert [api.chat().status_code for _ in range(2)] == [200, 429]


@pytest.mark.spec("U4")
def test_a_team_that_moves_to_another_time_zone_has_used_what_its_day_there_has_come_to(api: Api, red: Team) -> None:
    limited(api, requests_per_day=2)
    assert [api.chat().status_code for _ in range(2)] == [200, 200]
    api.rows(2)
    Team.objects.filter(pk=red.pk).update(time_zone="Etc/GMT+1")
    revision.bump()
    api.run(holder.refresh())
    assert api.chat().status_code == 429


@pytest.mark.spec("U4", "F25")
def test_a_call_that_the_accounts_cannot_take_counts_nowhere(api: Api) -> None:
    limited(api, requests_per_minute=5, requests_per_day=5, concurrent_requests=5)
    spool().close()
    assert api.chat().status_code == 503
    assert [one["used"] for one in api.client.get("/v1/usage").json()["limits"]] == [0, 0, 0]


@pytest.mark.spec("F24", "F32")
def test_a_redis_that_lost_everything_learns_the_day_from_the_log(api: Api) -> None:
    limited(api, requests_per_day=5, tokens_per_day=1000)
    with RedisServer() as server:
        api.run(limiter.open(workers=1, redis_url=server.url))
        try:
            assert [api.chat().status_code for _ in range(3)] == [200] * 3
            api.rows(3)
            before = api.client.get("/v1/usage").json()["limits"]
            assert [one["used"] for one in before] == [3, 78]
            server.stop()
            assert api.chat().status_code == 200  # by this process's own counts
            api.rows(4)
            server.start()
            api.engine.wait_for(lambda: limiter.came_back)
            limiter.counters.clear()
            api.run(holder.refresh())
            after = api.client.get("/v1/usage").json()["limits"]
            assert [one["used"] for one in after] == [4, 104]
            assert [api.chat().status_code for _ in range(2)] == [200, 429]
        finally:
            api.run(limiter.close())
