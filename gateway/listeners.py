"""What this room listens to in every web process."""

from accounts import revision
from gateway.monitor import pulse
from gateway.snapshot import holder

LISTENERS = {revision.CHANNEL: holder.notified, pulse.CHANNEL: pulse.heart.watched}
