"""The numbers of a chart as a table below it: a row for each column of the chart, in its order, for whoever reads it
without eyes or by keyboard (`static/js/charts.js` reads out the row that is pointed at).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _


@dataclass(frozen=True, slots=True)
class DataRow:
    """`said` is the row as a sentence, `href` where it leads, if anywhere."""

    title: str
    cells: tuple[str, ...]
    said: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class DataTable:
    head: tuple[str, ...]  # of the titles, then of each cell
    rows: tuple[DataRow, ...]

    @property
    def body(self) -> SafeString:
        """The rows in HTML, every text escaped: a page has a thousand cells, and a template takes ten times as long."""
        return mark_safe("\n".join(map(_markup, self.rows)))  # noqa: S308  # each part is escaped below


def _markup(row: DataRow) -> str:
    # Escaped together, which takes a tenth of the time: no text of a page holds the character between them.
    texts = escape("\0".join(row.cells)).split("\0") if row.cells else []
    cells = "".join([f'<td class="num">{text}</td>' for text in texts])
    title = escape(row.title)
    if row.href:
        title = f'<a href="{escape(row.href)}">{title}</a>'
    return f'<tr data-said="{escape(row.said)}"><th scope="row">{title}</th>{cells}</tr>'


def table(
    first: str, head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], hrefs: Sequence[str] = ()
) -> DataTable:
    """Of titles and their cells; a row's sentence names each cell by its head, and leaves out those after the first
    that came to nothing. `hrefs`: where the rows lead.
    """
    sentence = _("%(title)s: %(what)s")
    made = (
        DataRow(title, tuple(cells), sentence % {"title": title, "what": ", ".join(_named(head, cells))}, href)
        for (title, cells), href in zip(rows, hrefs or [""] * len(rows), strict=True)
    )
    return DataTable((first, *head), tuple(made))


def _named(head: Sequence[str], cells: Sequence[str]) -> list[str]:
    return [
        f"{name} {cell}" for place, (name, cell) in enumerate(zip(head, cells, strict=True)) if not place or cell != "0"
    ]


def said(title: str, what: str) -> str:
    return _("%(title)s: %(what)s") % {"title": title, "what": what}


def written[Number](numbers: Iterable[Number], write: Callable[[Number], str]) -> dict[Number, str]:
    """Each number in words, once: tables repeat many, and words for them take long to make."""
    return {number: write(number) for number in set(numbers)}
