"""A mail server on a real socket: as much of RFC 5321 as a client without secrets needs."""

import email
import socketserver
import threading
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any


@dataclass
class MailServer:
    """`refused`: addresses that it takes nothing for. `leaves_after`: messages, and then the connection is gone.

    `received`: recipient and message; `lines`: all of them as they came.
    """

    refused: set[str] = field(default_factory=set)
    leaves_after: int | None = None
    received: list[tuple[str, EmailMessage]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    def __enter__(self) -> "MailServer":
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def handle(self) -> None:
                server.connections += 1
                self.say("220 here")
                to: list[str] = []
                while line := self.rfile.readline().decode().strip():
                    word = line[:4].upper()
                    if word in {"EHLO", "HELO", "RSET", "MAIL", "NOOP"}:
                        to = []
                        self.say("250 well")
                    elif word == "RCPT":
                        address = line.partition("<")[2].partition(">")[0]
                        if address in server.refused:
                            self.say("550 no such person")
                        else:
                            to.append(address)
                            self.say("250 well")
                    elif word == "DATA":
                        self.say("354 go on")
                        server.received += [(one, self.message()) for one in to]
                        self.say("250 taken")
                        if len(server.received) == server.leaves_after:
                            return
                    else:
                        self.say("221 bye")
                        return

            def message(self) -> Any:
                lines = []
                while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                    lines.append(line.removeprefix(b"."))
                server.lines += lines
                return email.message_from_bytes(b"".join(lines), policy=default)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def mailers(self) -> dict[str, Any]:
        """For Django's setting of the same name."""
        options = {"host": "127.0.0.1", "port": self.port, "timeout": 5}
        return {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}}
