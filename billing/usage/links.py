"""Addresses of the usage page: each says the whole state, with what a press changes in it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from billing.usage.questions import address


@dataclass(frozen=True, slots=True)
class Links:
    """`path` is the page's own address, `state` what of it is not as usual.

    `log_path` is the log's (empty: none that shows the same rows), `log_filters` what the page shows without saying so.
    """

    path: str
    state: Mapping[str, Any]
    log_path: str = ""
    log_filters: Mapping[str, Any] = field(default_factory=dict)

    def to(self, **changes: Any) -> str:
        return _with(self.path, address(**{**self.state, **changes}))

    def file(self, path: str, **more: str) -> str:
        """The same question to another address."""
        return _with(path, address(**{**self.state, **more}))

    def narrowed(self, **values: str) -> str:
        """To one value of each filter named, whatever else was asked of it."""
        return self.to(sort="", **values)

    def to_days(self) -> Callable[[date, date], str]:
        """A bar of a day leads to its hours, one of a month to its days. What they have in common is written once."""
        begin = self.to(period="custom", first="", last="", bucket="")
        return lambda first, last: f"{begin}&first={first.isoformat()}&last={last.isoformat()}"

    def log(self, **values: str) -> str:
        """The requests behind a number."""
        if not self.log_path:
            return ""
        state = {name: value for name, value in self.state.items() if name not in _OF_THE_PAGE}
        return _with(self.log_path, address(**{**state, **self.log_filters, **values}))

    def without(self, kind: str, value: object) -> str:
        kept = [one for one in self.state.get(kind) or () if one != value]
        return self.to(**{kind: kept})

    def unfiltered(self) -> str:
        return self.to(origin="", **dict.fromkeys(KINDS))

    def beside_the_bar(self) -> list[tuple[str, object]]:
        """The fields that the form above the page carries along, since it asks for none of them."""
        return [(name, value) for name, value in self._fields() if name in KINDS or name in {"sort", "of"}]

    def beside_the_filters(self) -> list[tuple[str, object]]:
        """The fields that the form of the filters carries along."""
        return [(name, value) for name, value in self._fields() if name not in KINDS]

    def _fields(self) -> Iterator[tuple[str, object]]:
        for name, given in self.state.items():
            for value in given if isinstance(given, tuple | list) else (given,):
                if value not in ("", None):
                    yield name, value


_OF_THE_PAGE = ("group", "metric", "bucket", "compare", "sort", "of")  # which rows have nothing to do with
KINDS = ("model", "key", "member", "outcome", "team")


def _with(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path
