"""Markdown from a model becomes HTML that is safe, and is rendered in parts that add up to the whole."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.markdown import Growing, render
from tests.chat.payloads import PAYLOADS

ATTRIBUTES = {"href", "title", "rel", "target", "class", "scope", "start", "tabindex"}
TAGS = {
    *("a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"),
    *("s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}

SAMPLE = """# A heading

A paragraph with **bold**, `code`, [a link](https://example.org) and
a second line.

- one
- two

  still two

- three

1. first
2. second

| City | Rent |
|------|-----:|
| Lyon | 890  |

```python
for x in range(3):

    print("# not a heading")
```
Directly after.

> A quote
> goes on

    indented code

    more of it

## The end
Last words"""


class Markup(HTMLParser):
    """Every tag and attribute of a piece of HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def in_parts(text: str) -> str:
    growing = Growing()
    for character in text:
        growing.add(character)
    return "".join(block.html for block in growing.blocks) + render(growing.tail)


@pytest.mark.spec("S09")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_answer_holds_nothing_but_allowed_tags_and_attributes(payload: str) -> None:
    for tag, attributes in Markup(render(payload)).tags:
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES
        assert re.match(r"(https?:|mailto:)", attributes.get("href") or "https:")


@given(st.text(alphabet=st.sampled_from("<>\"'&`~*_[]()!#-:/\\ \n\tabhrefjscriptonload=0"), max_size=200))
def test_no_text_makes_a_tag_or_attribute_that_is_not_allowed(text: str) -> None:
    for tag, attributes in Markup(render(text)).tags:
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES


def test_a_picture_becomes_a_link() -> None:
    assert render("![a cat](https://example.org/cat.png)") == (
        '<p><a href="https://example.org/cat.png" target="_blank" rel="noopener noreferrer">a cat</a></p>\n'
    )


def test_a_link_without_one_of_our_schemes_stays_text() -> None:
    assert render("[x](/account/logout/)") == "<p>[x](/account/logout/)</p>\n"


def test_headings_stand_below_those_of_the_page() -> None:
    assert render("# One\n\n###### Six") == "<h3>One</h3>\n<h6>Six</h6>\n"


def test_a_table_can_be_scrolled_and_keeps_its_alignment() -> None:
    html = render("| a | b |\n|---|--:|\n| 1 | 2 |")
    assert html.startswith('<div class="table-wrap"><table class="table">')
    assert '<td class="num">2</td>' in html


def test_only_a_closed_fence_is_coloured() -> None:
    assert '<span class="k">' in render("```python\nif x:\n    pass\n```")
    assert "<span" not in render("```python\nif x:\n    pass")


def test_an_unknown_language_is_shown_plain() -> None:
    assert "<code>a &lt; b\n</code>" in render("```nosuchlanguage\na < b\n```")


def test_settled_blocks_and_tail_add_up_to_the_full_render() -> None:
    whole, parts = Markup(render(SAMPLE)), Markup(in_parts(SAMPLE))
    assert parts.tags == whole.tags
    assert parts.text.split() == whole.text.split()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_where_pieces_are_cut_makes_no_difference(size: int) -> None:
    growing, whole = Growing(), Growing()
    for start in range(0, len(SAMPLE), size):
        growing.add(SAMPLE[start : start + size])
    whole.add(SAMPLE)
    assert growing.blocks == whole.blocks
    assert growing.tail == whole.tail


@given(st.lists(st.text(alphabet="ab \n`~-*#1.>|", max_size=12)))
def test_no_character_is_lost_or_doubled_between_blocks_and_tail(pieces: list[str]) -> None:
    growing = Growing()
    settled = 0
    for piece in pieces:
        growing.add(piece)
        assert growing.settled >= settled, "what has settled stays settled"
        settled = growing.settled
    assert growing.text == "".join(pieces)
    assert growing.text[: growing.settled] + growing.tail == growing.text


def test_an_open_fence_is_not_settled_by_an_empty_line() -> None:
    growing = Growing()
    growing.add("```\na\n\nb\n\n# c\n")
    assert growing.blocks == []
    assert growing.tail_is_code
    growing.add("```\n")
    assert len(growing.blocks) == 1
