"""What a page shows which swaps the socket's frames in."""

import html
import re


def text_of(frames: list[str]) -> str:
    """The answer that a page shows which swaps these frames in, as plain text."""
    blocks = tail = ""
    for frame in frames:
        if whole := re.search(
            r'<div id="blocks">(.*?)</div>\s*<div class="tail[^"]*" id="tail">(.*?)</div>', frame, re.DOTALL
        ):
            blocks, tail = whole[1], whole[2]
        if added := re.search(r'"beforeend:#blocks">(.*?)</div><div', frame, re.DOTALL):
            blocks += added[1]
        if moved := re.search(r'id="tail" hx-swap-oob="true">(.*?)</div>', frame, re.DOTALL):
            tail = moved[1]
        elif more := re.search(r'"beforeend:#tail">(.*?)</div>', frame, re.DOTALL):
            tail += more[1]
    return html.unescape(re.sub(r"<[^>]+>", "", blocks) + tail)
