"""What every web process does with the chat's notifications, and when somebody loses a right."""

from accounts import departures
from accounts.background import Listener
from chat.conversations import CHANNEL
from chat.generations import supervisor
from chat.presence import presence


def _departed(user_id: str) -> None:
    presence.departed(int(user_id))
    supervisor.departed()


LISTENERS: dict[str, Listener] = {CHANNEL: supervisor.notified, departures.CHANNEL: _departed}
