"""Where a webhook may lead: every range that is not public is refused, however it is written."""

import ipaddress
import socket
import ssl
from collections.abc import Collection
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from billing.alerts import posting
from billing.alerts.addresses import is_public, judge, parse
from billing.alerts.posting import Answer, post
from billing.errors import AddressRefused
from tests.billing.alerts.hooks import Receiver, self_signed

pytestmark = pytest.mark.spec("S08")

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4003::1", "64:ff9b::808:808"]
PRIVATE_4 = (
    "0.0.0.0",  # noqa: S104  # not bound to
    *("0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
)
PRIVATE_6 = (
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:0:7f00:1::", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1"),
    *("5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_called(address: str) -> None:
    assert judge([address]) == [ipaddress.ip_address(address)]


@pytest.mark.parametrize("address", [*PRIVATE_4, *PRIVATE_6])
def test_any_other_address_is_refused_and_spoils_the_name_that_has_it(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address.partition("%")[0]))
    for found in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        with pytest.raises(AddressRefused, match="private"):
            judge(found)


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(AddressRefused, match="unknown"):
        judge([])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed"),
        ("hooks.example.org", "malformed"),
        ("//hooks.example.org/", "scheme"),
        ("https://", "malformed"),
        ("https:///path", "malformed"),
        ("https://hooks.example.org:99999/", "malformed"),
        ("https://hooks.example.org/\r\nhost: inside", "malformed"),
        ("https://hooks.example.org/a b", "malformed"),
        ("https://hooks.example.org/" + "a" * 500, "malformed"),
        ("http://hooks.example.org/", "scheme"),
        ("ftp://hooks.example.org/", "scheme"),
        ("file:///etc/passwd", "malformed"),
        ("gopher://hooks.example.org/", "scheme"),
        ("https://me:secret@hooks.example.org/", "credentials"),
        ("https://8.8.8.8@127.0.0.1/", "credentials"),
        ("https://hooks.example.org:22/", "port"),
        ("https://hooks.example.org:6379/", "port"),
        ("https://127.0.0.1/", "private"),
        ("https://[::1]/", "private"),
        ("https://[::ffff:7f00:1]/", "private"),
        ("https://[fe80::1%25eth0]/", "private"),
        ("https://169.254.169.254/latest/meta-data/", "private"),
        ("https://①②⑦.⓪.⓪.①/", "private"),
        (f"https://example.org/{'é' * 400}", "malformed"),  # too long, once each letter is written as it is called
    ],
)
def test_what_is_no_address_to_call_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        parse(text, hosts=())
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "text",
    ["https://hooks.example.org/a?b=c", "https://hooks.example.org:8443/", "https://8.8.8.8/", "https://ñandú.es/"],
)
def test_https_to_the_usual_ports_is_taken(text: str) -> None:
    assert parse(text, hosts=()).scheme == "https"


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("http://pager.internal:8065/hook", True),
        ("http://PAGER.internal.:8065/hook", True),
        ("http://pager.internal:5432/hook", False),
        ("https://pager.internal:8065.evil.org/hook", False),
        ("http://pager.internal/hook", False),
        ("http://[fd00::1]:8080/hook", True),
        ("http://[fd00::1]:81/hook", False),
        ("http://fd00::1:8080/hook", False),
    ],
)
def test_a_host_that_is_named_with_its_port_is_called_there_alone(text: str, ok: bool) -> None:
    hosts = ("pager.internal:8065", "[fd00::1]:8080")
    if ok:
        parse(text, hosts=hosts)
        return
    with pytest.raises(AddressRefused):
        parse(text, hosts=hosts)


def test_a_host_that_the_operator_named_may_be_anything() -> None:
    for text in ("http://n8n.internal:5678/hook", "https://N8N.internal./"):
        assert parse(text, hosts=("n8n.internal",)).host is not None
    with pytest.raises(AddressRefused):
        parse("http://other.internal/", hosts=("n8n.internal",))
    with pytest.raises(AddressRefused, match="credentials"):
        parse("http://me@n8n.internal/", hosts=("n8n.internal",))


# Calls, to a real server on the loopback


def here(port: int, path: str = "/hook") -> URL:
    return URL(f"http://hooks.example.org:{port}{path}")


def to_us(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_call_goes_where_the_name_was_resolved_to_and_carries_the_name(address: str) -> None:
    with Receiver(address=address) as receiver:
        named = ["hooks.example.org"]
        answer = post(here(receiver.port), b"{}", {"x": "y"}, hosts=named, lookup=lambda host, port: [address])
    assert answer == Answer(204, "")
    (call,) = receiver.calls
    assert (call.path, call.body, call.headers["x"]) == ("/hook", b"{}", "y")
    assert call.headers["host"] == f"hooks.example.org:{receiver.port}"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
def test_a_public_name_that_leads_inside_is_not_called(address: str) -> None:
    with Receiver() as receiver:
        answer = post(here(receiver.port), b"{}", {}, lookup=lambda host, port: [address])
    assert (answer, receiver.calls) == (Answer(0, "private"), [])


def test_a_name_that_is_resolved_to_another_address_a_moment_later_gains_nothing() -> None:
    """DNS rebinding: public while it is judged, ours when it is called. It is asked once."""
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Collection[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) > 1 else ["93.184.215.14"]

    connected: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posting, "CONNECT", 0.3)
        patch.setattr(socket.socket, "connect", lambda own, place: connected.append(place[0]))
        post(URL("https://hooks.example.org/"), b"{}", {}, lookup=rebinding)
    assert (asked, connected) == (["hooks.example.org"], ["93.184.215.14"])


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "127.0.0.1.", "[::1]"])
def test_other_spellings_of_this_machine_are_not_called(host: str) -> None:
    with Receiver() as receiver:
        answer = post(URL(f"http://{host}:{receiver.port}/"), b"{}", {})
    assert (answer.status, receiver.calls) == (0, [])


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with Receiver() as target, Receiver(answers=[307]) as receiver:
        receiver.headers["location"] = f"http://127.0.0.1:{target.port}/"
        answer = post(here(receiver.port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert (answer.status, answer.taken, target.calls) == (307, False, [])


def test_little_of_a_long_answer_is_read_and_none_of_it_is_kept_beyond() -> None:
    with Receiver(answers=[200], text=b"x" * 10_000_000) as receiver:
        answer = post(here(receiver.port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert 0 < len(answer.text) <= posting.READ


def test_of_an_answer_only_what_a_line_of_text_can_hold_is_kept() -> None:
    with Receiver(answers=[500], text="no\0pe\r\n\u202e\x1b[2J ".encode() + b"\xff") as receiver:
        answer = post(here(receiver.port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert answer == Answer(500, "no pe    [2J \ufffd")


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "WHOLE", 0.3)
    with Receiver(wait=2) as receiver:
        answer = post(here(receiver.port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert answer == Answer(0, "no answer in time")


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = post(here(receiver.port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert (answer.status, proxy.calls, len(receiver.calls)) == (204, [], 1)


@pytest.mark.parametrize(
    ("name", "taken"), [("hooks.example.org", True), ("other.example.org", False)], ids=["its own", "another's"]
)
@pytest.mark.parametrize("vouched_for", [True, False])
def test_a_certificate_must_be_vouched_for_and_name_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, taken: bool, vouched_for: bool
) -> None:
    certificate = self_signed(tmp_path, name)
    trusted = ssl.create_default_context(cafile=str(certificate)) if vouched_for else ssl.create_default_context()
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusted)
    with Receiver(certificate=certificate) as receiver:
        url = URL(f"https://hooks.example.org:{receiver.port}/")
        answer = post(url, b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert (answer.taken, len(receiver.calls)) == ((True, 1) if taken and vouched_for else (False, 0))


def test_nobody_there_is_an_answer_too() -> None:
    with Receiver() as receiver:
        port = receiver.port
    answer = post(here(port), b"{}", {}, hosts=["hooks.example.org"], lookup=to_us)
    assert (answer.status, answer.taken) == (0, False)
    away = post(URL("https://nowhere.invalid/"), b"{}", {})
    assert (away.status, away.taken) == (0, False)


def test_a_socket_for_another_address_than_the_judged_ones_is_not_made() -> None:
    make = posting._only(["93.184.215.14"])
    with pytest.raises(AddressRefused, match="private"):
        make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443)))
