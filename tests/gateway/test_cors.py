"""Who may read /v1 from a page: nobody unless named; and a browser's session opens nothing there."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from accounts.models import Team, User
from gateway.catalogue import add_engine, import_models
from tests.engines.faultd import FaultEngine
from tests.factories import PASSWORD, make_key
from tests.gateway.conftest import Api
from tests.server import LiveServer

PAGE = "https://app.example.org"
EVERY = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/v1/models/plain", "/v1/usage"]
USER = [{"role": "user", "content": "hi"}]


def preflight(api: Api, path: str, origin: str) -> httpx.Response:
    """As a browser asks before the call: without a key."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    return httpx.options(f"{api.url}{path}", headers=headers, trust_env=False)


def told(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control")}


@pytest.mark.parametrize("path", EVERY)
def test_no_page_is_told_anything_unless_the_operator_names_it(api: Api, path: str) -> None:
    refused = preflight(api, path, PAGE)
    assert (refused.status_code, told(refused)) == (405, {})
    assert told(api.client.get(path, headers={"origin": PAGE})) == {}


@pytest.mark.parametrize("path", EVERY)
def test_a_named_page_may_call(api: Api, quick: Callable[..., None], path: str) -> None:
    quick(cors_origins=(PAGE, "https://other.example.org"))
    allowed = preflight(api, path, PAGE)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["vary"] == "origin"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    # The wildcard covers all but authorization, which must be named.
    assert set(allowed.headers["access-control-allow-headers"].split(", ")) == {"*", "authorization"}
    assert "access-control-allow-credentials" not in allowed.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", f"{PAGE}.evil.org", "http://app.example.org", "null", ""]
)
def test_a_page_that_is_not_named_gets_nothing(api: Api, quick: Callable[..., None], origin: str) -> None:
    quick(cors_origins=(PAGE,))
    for path in EVERY:
        refused = preflight(api, path, origin)
        assert (refused.status_code, told(refused)) == (405, {})
    assert told(api.client.get("/v1/models", headers={"origin": origin})) == {}


@pytest.mark.spec("H4")
@pytest.mark.parametrize("stream", [True, False])
def test_a_named_page_may_read_answers_errors_and_the_headers_that_matter(
    api: Api, quick: Callable[..., None], stream: bool
) -> None:
    quick(cors_origins=(PAGE,))
    api.client.headers["origin"] = PAGE
    for model, status in (("plain", 200), ("fault:status", 502), ("none", 404)):
        response = api.chat(model, stream=stream)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == PAGE
        exposed = set(response.headers["access-control-expose-headers"].split(", "))
        assert exposed >= {"x-request-id", "id", "backend", "server-timing", "retry-after", "x-tertulia-ignored"}
    api.client.headers["authorization"] = "Bearer wrong"
    assert api.chat(stream=stream).headers["access-control-allow-origin"] == PAGE


def test_an_options_request_that_no_page_sends_is_no_preflight(api: Api, quick: Callable[..., None]) -> None:
    quick(cors_origins=(PAGE,))
    assert api.client.options("/v1/models").status_code == 405


@pytest.fixture
def whole(transactional_db: None, red: Team) -> Iterator[LiveServer]:
    """All of Tertulia, with a model."""
    with FaultEngine() as engine:
        import_models(engine=add_engine(name="faults", type="openai", url=engine.url), only=["plain"])
        with LiveServer() as server:
            yield server


@pytest.mark.spec("H2")
def test_a_session_opens_no_door_of_the_api_and_needs_no_csrf_token_there(
    whole: LiveServer, alice: User, red: Team
) -> None:
    known = PBKDF2PasswordHasher().encode(PASSWORD, "salt")  # the tests' own way is not the product's
    User.objects.filter(pk=alice.pk).update(password=known)
    with httpx.Client(base_url=whole.url, trust_env=False) as browser:
        assert browser.get("/chat/").status_code == 302
        form = browser.get("/account/login/")
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
        assert found is not None
        given = {"login": alice.email, "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
        signed_in = browser.post("/account/login/", data=given, headers={"referer": f"{whole.url}/account/login/"})
        assert signed_in.status_code == 302
        assert "session" in browser.cookies
        assert browser.get("/chat/").status_code == 200
        body = {"model": "plain", "messages": USER}
        for path in ("/v1/models", "/v1/models/plain", "/v1/usage"):
            assert browser.get(path).status_code == 401
        for path in ("/v1/chat/completions", "/v1/completions/", "/v1/embeddings"):
            refused = browser.post(path, json=body, headers={"origin": "https://evil.example.org"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
            assert "set-cookie" not in refused.headers
        key = {"authorization": f"Bearer {make_key(red).secret}"}
        answered = browser.post("/v1/chat/completions", json=body, headers={**key, "origin": PAGE})
        assert (answered.status_code, answered.json()["object"]) == (200, "chat.completion")
        assert "access-control-allow-origin" not in answered.headers
