"""Markdown to safe HTML: markdown-it without raw HTML, Pygments in closed fences, and an allow-list last.

Whatever a model writes, the result holds no id, no style, no attribute that htmx reads, no class but Pygments' and
ours, no picture and no link but to http, https and mailto. A growing answer is cut into blocks that can no longer
change, each rendered once, so that the cost grows with the text and not with its square.
"""

import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import urlsplit

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

HIGHLIGHT_LIMIT = 64 * 1024  # characters; a longer listing is shown plain
SCHEMES = {"http", "https", "mailto"}
HEADINGS = ("h3", "h4", "h5", "h6")

_FORMATTER = HtmlFormatter(nowrap=True)
_ALLOWED_TAGS = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "hr", "li", "ol", "p", "pre", "s", "span", "strong", "ul"),
    *("table", "tbody", "td", "th", "thead", "tr"),
    *HEADINGS,
}
_ALLOWED_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "th": {"scope"}}
_ALLOWED_CLASSES = {
    "div": {"code", "table-wrap"},
    "p": {"language"},
    "table": {"table"},
    "th": {"num", "centre"},
    "td": {"num", "centre"},
    "span": {name for name in STANDARD_TYPES.values() if name},
}
_CLEANER = nh3.Cleaner(
    tags=_ALLOWED_TAGS,
    attributes=_ALLOWED_ATTRIBUTES,
    allowed_classes=_ALLOWED_CLASSES,
    url_schemes=SCHEMES,
    link_rel="noopener noreferrer",
    set_tag_attribute_values={"a": {"target": "_blank"}, "pre": {"tabindex": "0"}},
)


@lru_cache(maxsize=256)
def render(text: str) -> SafeString:
    """The whole of `text` as HTML that may stand in a page."""
    return mark_safe(_CLEANER.clean(_markdown.render(text)))  # noqa: S308  # the allow-list is what makes it safe


class _Renderer(RendererHTML):
    """markdown-it's own renderer, but for pictures, tables, listings and headings."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        """A link: a picture fetched from elsewhere would tell that place what was said here."""
        token = tokens[idx]
        words = self.renderInlineAsText(token.children or [], options, env)
        address = str(token.attrGet("src") or "")
        return f'<a href="{escape(address)}">{escape(words or address)}</a>'

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
        body = _highlighted(token.content, language) if token.meta.get("closed") else escape(token.content, quote=False)
        label = f'<p class="language">{escape(language)}</p>' if language else ""
        return f'<div class="code">{label}<pre><code>{body}</code></pre></div>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        return f'<div class="code"><pre><code>{escape(tokens[idx].content, quote=False)}</code></pre></div>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        return '<div class="table-wrap"><table class="table">\n'

    def table_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]
    ) -> str:
        return "</table></div>\n"


def _highlighted(code: str, language: str) -> str:
    if len(code) > HIGHLIGHT_LIMIT:
        return escape(code, quote=False)
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code, quote=False)
    return str(pygments_highlight(code, lexer, _FORMATTER))


def _link_allowed(address: str) -> bool:
    try:
        return urlsplit(address).scheme.lower() in SCHEMES
    except ValueError:
        return False


_CLASS_OF_ALIGNMENT = {"text-align:right": "num", "text-align:center": "centre"}


def _adapt(state: Any) -> None:
    """Tokens as our pages want them: headings below ours, alignment as a class, fences told whether they closed."""
    lines = state.src.split("\n")
    for token in state.tokens:
        match token.type:
            case "heading_open" | "heading_close":
                token.tag = HEADINGS[min(int(token.tag[1]), len(HEADINGS)) - 1]
            case "th_open" | "td_open":
                alignment = _CLASS_OF_ALIGNMENT.get(token.attrs.pop("style", ""))
                if alignment:
                    token.attrSet("class", alignment)
                if token.type == "th_open":
                    token.attrSet("scope", "col")
            case "fence":
                last = lines[token.map[1] - 1].strip(" >\t")
                opened_here = token.map[1] - token.map[0] == 1
                token.meta["closed"] = (
                    not opened_here and last.startswith(token.markup) and not last.strip(token.markup[0])
                )
            case _:
                pass


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  # markdown-it asks here which links it may make
        return _link_allowed(url)


_markdown = _Markdown("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
_markdown.core.ruler.push("adapt", _adapt)


_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_LIST_ITEM = re.compile(r" {0,3}([-*+]|\d{1,9}[.)])(\s|$)")
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an answer that more text cannot change. `end` is its end in the answer's text, in characters."""

    end: int
    html: SafeString


@dataclass(slots=True)
class Growing:
    """A text that arrives in pieces: the blocks that are settled, and the tail behind them that is still open.

    Each line is looked at once. A block ends before a heading or a fence, after a fence, and at an empty line unless
    what follows could belong to what came before (a list goes on, an indented line).
    """

    text: str = ""
    blocks: list[Block] = field(default_factory=list)
    settled: int = 0  # where the tail begins
    _read: int = 0  # where the first line that has not been looked at begins
    _fence: str = ""  # the marker of the fence that is open
    _in_list: bool = False
    _after_blank: bool = False

    @property
    def tail(self) -> str:
        return self.text[self.settled :]

    @property
    def tail_is_code(self) -> bool:
        return bool(self._fence)

    def add(self, piece: str) -> None:
        self.text += piece
        while (end := self.text.find("\n", self._read) + 1) > 0:
            self._look_at(self.text[self._read : end - 1], self._read, end)
            self._read = end

    def _look_at(self, line: str, start: int, end: int) -> None:
        if self._fence:
            if _closes(line, self._fence):
                self._fence = ""
                self._settle(end)
        elif not line.strip():
            self._after_blank = True
        else:
            self._look_at_words(line, start, end)

    def _look_at_words(self, line: str, start: int, end: int) -> None:
        fence = _FENCE.match(line)
        is_heading = _HEADING.match(line)
        is_item = bool(_LIST_ITEM.match(line))
        goes_on = line[0] in " \t" or (self._in_list and is_item)
        if fence and "`" in fence[2] and fence[1][0] == "`":
            fence = None  # a code span on a line of its own
        if (fence and not (self._in_list and line[0] == " ")) or is_heading or (self._after_blank and not goes_on):
            self._settle(start)
        if self.settled == start or not self.text[self.settled : start].strip():
            self._in_list = is_item
        self._after_blank = False
        if fence and not self._in_list:
            self._fence = fence[1]
        elif is_heading and not self._in_list:
            self._settle(end)

    def _settle(self, end: int) -> None:
        if self.text[self.settled : end].strip():
            self.blocks.append(Block(end, render(self.text[self.settled : end])))
        self.settled = end
        self._in_list = self._after_blank = False


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(fence) and not mark.strip(fence[0]) and len(line) - len(line.lstrip(" ")) < 4
