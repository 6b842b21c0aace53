"""What this room listens to in every web process."""

from accounts.revision import CHANNEL
from gateway.snapshot import holder

LISTENERS = {CHANNEL: holder.notified}
