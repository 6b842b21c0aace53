"""What every web process does with the chat's notifications."""

from accounts.background import Listener
from chat.conversations import CHANNEL
from chat.generations import supervisor

LISTENERS: dict[str, Listener] = {CHANNEL: supervisor.notified}
