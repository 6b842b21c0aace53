"""What one open page shows, and the fragments that bring it up to date: changed cells, and tables with other rows."""

from typing import Any

from django.template.loader import render_to_string
from django.utils import translation

from gateway.monitor.board import Picture
from gateway.monitor.captions import Cell, Words, cells_of, words

TEMPLATE = "gateway/monitor.html"


def context(shown: Words) -> dict[str, Any]:
    """For the page, which reads it all at once."""
    return {"shown": shown, **{f"{name}_rows": rows for name, rows in shown.regions().items()}}


class Screen:
    """A page in one language. It begins without knowing what the page shows, and tells it everything."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._cells: dict[str, Cell] = {}
        self._rows: dict[str, tuple[str, ...]] = {}

    def news(self, picture: Picture) -> str:
        """Fragments for out-of-band swaps; empty when nothing has changed."""
        with translation.override(self._language):
            return "".join(self._news(words(picture)))

    def _news(self, shown: Words) -> list[str]:
        fragments: list[str] = []
        changed = self._changed(shown.loose())
        for name, rows in shown.regions().items():
            keys, cells = tuple(row.key for row in rows), cells_of(rows)
            if self._rows.get(name) != keys:
                self._rows[name] = keys
                self._changed(cells)  # they come with the table
                fragments.append(render_to_string(f"{TEMPLATE}#{name}", {f"{name}_rows": rows, "region_oob": True}))
            else:
                changed += self._changed(cells)
        if changed:
            fragments.append(render_to_string(f"{TEMPLATE}#cells", {"cells": changed, "oob": True}))
        return fragments

    def _changed(self, cells: list[Cell]) -> list[Cell]:
        found = [cell for cell in cells if self._cells.get(cell.id) != cell]
        self._cells |= {cell.id: cell for cell in found}
        return found
