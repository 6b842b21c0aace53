"""The chat's page as its server sees it: a socket with a session's cookie."""

import json
import re
import time
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.faults.rig import Rig

PATIENCE = 30.0  # seconds for a frame
START = """
import uuid
from accounts.models import Team, User
from chat.conversations import Question, start
user, team = User.objects.get(email="{who}@example.org"), Team.objects.get(slug="red")
print(start(user=user, team=team, question=Question("{text}", "plain", uuid.uuid4())).pk)
"""


def talk(rig: Rig, text: str, who: str = "bob") -> str:
    """A new conversation that begins with this question."""
    return rig.shell(START.format(who=who, text=text))


class Page:
    def __init__(self, rig: Rig, conversation: str, *, session: str = "", server: int = 0) -> None:
        port = rig.servers[server].port
        self.frames: list[str] = []
        self._stack = ExitStack()
        opened = connect(
            f"ws://127.0.0.1:{port}/ws/chat/{conversation}/?lang=en",
            origin=f"http://localhost:{port}",  # type: ignore[arg-type]
            additional_headers={"cookie": f"session={session or rig.sessions['bob']}"},
            max_size=None,
        )
        self._socket: ClientConnection = self._stack.enter_context(opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def vanish(self) -> None:
        """As a browser that is killed: without a closing handshake."""
        self._socket.socket.close()

    def say(self, **message: Any) -> None:
        self._socket.send(json.dumps(message))

    def begin(self, newest: int | str = "") -> None:
        """Says where it stands."""
        self.say(type="cursor", newest=str(newest))

    def ask(self, text: str, client_id: uuid.UUID | None = None) -> None:
        self.say(type="ask", text=text, model="plain", client_id=str(client_id or uuid.uuid4()))

    def hear(self) -> str:
        frame = str(self._socket.recv(PATIENCE))
        self.frames.append(frame)
        return frame

    def hear_until(self, pattern: str) -> str:
        while not re.search(pattern, frame := self.hear()):
            pass
        return frame

    def closed_with(self) -> int:
        """The code that the server closes it with."""
        deadline = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < deadline:
            try:
                self.hear()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
        raise AssertionError("the socket was never closed")
