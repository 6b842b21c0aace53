"""The environment: typed, loud about bad values, and the same in code, example and documentation."""

import re
import stat
from pathlib import Path

import pytest

from console import env
from console.errors import BadSetting

GOOD = "tests only: 5f4e3d2c1b0a9876 a secret of fair length"


def variables() -> set[str]:
    source = (env.ROOT / "console" / "env.py").read_text()
    return set(re.findall(r'reader\.\w+\("([A-Z_]+)"', source))


def test_the_example_names_every_variable_and_no_other() -> None:
    example = (env.ROOT / ".env.example").read_text()
    assert set(re.findall(r"^# ([A-Z_]+)=", example, re.MULTILINE)) == variables()


def test_the_documentation_names_every_variable_and_no_other() -> None:
    page = (env.ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"^\| ([A-Z_]+) \|", page, re.MULTILINE)) == variables()


def test_the_example_shows_the_defaults() -> None:
    example = (env.ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert env.read({**shown, "TERTULIA_DATA": ""}) == env.read({})


@pytest.mark.spec("S13")
@pytest.mark.parametrize(
    "secret", ["", "short", "a" * 64, "changeme-changeme-changeme-changeme-12345", "django-insecure-" + GOOD]
)
def test_a_secret_that_cannot_be_trusted_is_refused_by_name(secret: str) -> None:
    with pytest.raises(BadSetting, match="SECRET_KEY"):
        env.check_secret(secret)


def test_a_good_secret_is_taken() -> None:
    assert env.check_secret(GOOD) == GOOD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("DEBUG", "perhaps"),
        ("DRAIN_SECONDS", "-1"),
        ("SPOOL_SYNC", "never"),
        ("LANGUAGE", "de"),
        ("TRUSTED_PROXIES", "proxy.example.org"),
        ("BASE_URL", "llm.example.org"),
        ("BASE_URL", "http://llm.example.org"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        env.read({name: value})


def test_plain_http_elsewhere_needs_a_word() -> None:
    assert env.read({"BASE_URL": "http://10.0.0.5:8000", "INSECURE_HTTP": "1"}).insecure_http


def test_debug_is_for_this_machine_alone() -> None:
    with pytest.raises(BadSetting, match="DEBUG"):
        env.read({"BASE_URL": "https://llm.example.org", "DEBUG": "1"})


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{GOOD}\nanother line\n")
    assert env.read({"SECRET_KEY_FILE": str(tmp_path / "secret")}).secret_key == GOOD


def test_a_value_and_its_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="SECRET_KEY_FILE"):
        env.read({"SECRET_KEY_FILE": str(tmp_path), "SECRET_KEY": GOOD})


def test_the_kept_secret_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    made = env.keep_secret(tmp_path / "data")
    assert env.keep_secret(tmp_path / "data") == made
    assert env.check_secret(made) == made
    assert stat.S_IMODE(env.kept_secret_file(tmp_path / "data").stat().st_mode) == 0o600
