"""Mail without EMAIL_URL: written to the terminal for people to read.

Django's own backend writes what would cross the wire, where long lines are broken: no link of ours works from there.
"""

import unicodedata

from django.core.mail import EmailMessage
from django.core.mail.backends.console import EmailBackend as WireBackend

RULE = "-" * 79


class EmailBackend(WireBackend):
    def write_message(self, message: EmailMessage) -> None:
        sent = message.message()  # raises for a header of two lines
        heads = [f"{name}: {sent[name]}" for name in ("To", "From", "Subject")]
        heads += [f"Attached: {part.get_filename()}" for part in sent.iter_attachments()]
        lines = [RULE, *heads, "", *str(message.body).strip().splitlines(), RULE]
        self.stream.write("".join(f"{_harmless(line)}\n" for line in lines))


def _harmless(line: str) -> str:
    """Without what steers a terminal: names in mails are anybody's."""
    return "".join("\ufffd" if unicodedata.category(character) == "Cc" else character for character in line)
