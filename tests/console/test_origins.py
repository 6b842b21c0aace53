"""Which pages may open a socket here."""

import pytest
from django.conf import LazySettings

from console.origins import is_own

pytestmark = pytest.mark.spec("S11")


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://llm.example.org", "llm.example.org", True),
        ("https://llm.example.org", "127.0.0.1:8000", True),  # a proxy that passes no Host
        ("https://LLM.example.org:443", "llm.example.org", True),
        ("https://chat.example.org:8443", "chat.example.org:8443", True),
        ("https://llm.example.org:8443", "llm.example.org", False),
        ("https://chat.example.org:9443", "chat.example.org:8443", False),
        ("http://llm.example.org", "llm.example.org", False),
        ("https://evil.example", "llm.example.org", False),
        ("https://evil.example", "evil.example", False),
        ("https://llm.example.org.evil.example", "llm.example.org", False),
        ("https://", "", False),
        ("null", "llm.example.org", False),
        ("", "llm.example.org", False),
    ],
)
def test_a_page_may_open_a_socket_at_its_own_address_alone(
    settings: LazySettings, origin: str, host: str, own: bool
) -> None:
    settings.BASE_URL = "https://llm.example.org"
    settings.SECURE_TRANSPORT = True
    settings.ALLOWED_HOSTS = ["llm.example.org", "chat.example.org"]

    assert is_own(origin, host) == own


def test_a_server_that_answers_to_every_name_takes_no_page_of_another(settings: LazySettings) -> None:
    settings.BASE_URL = "http://localhost:8000"
    settings.ALLOWED_HOSTS = ["*"]

    assert [is_own(origin, "[::1]:8000") for origin in ("http://[::1]:8000", "http://evil.example", "")] == [
        True,
        False,
        False,
    ]
