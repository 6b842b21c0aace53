"""Limits on /v1: who is refused, what he is told, and that a refused call counts nowhere."""

import time
from collections.abc import Iterator

import pytest

from accounts.models import ApiKey
from billing.limits import limiter
from billing.tiers import limit_key
from billing.windows import Bounds
from tests.gateway.conftest import Api


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
