"""Moments and words that the tests of alerts share."""

import re
from datetime import UTC, datetime
from html import unescape

import pytest

NOW = datetime(2026, 11, 26, 14, 20, tzinfo=UTC)  # a Thursday


@pytest.fixture
def now() -> datetime:
    return NOW


def words(html: str) -> str:
    """What a page or mail says, white space as one."""
    text = unescape(re.sub(r"<style.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL))
    return re.sub(r"\s+", " ", text).replace("\xa0", " ")
