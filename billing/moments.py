"""Moments and time zones in words."""

from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import get_timezone_location
from django.conf import settings
from django.utils import formats
from django.utils.translation import gettext as _

from billing.numbers import locale


def zone_in_words(at: datetime, zone: str) -> str:
    """By its city, as people call it, with what the clocks differ by on the day."""
    if zone == "UTC":
        return zone
    offset = at.strftime("%z")
    hours, minutes = offset[:3], offset[3:]
    said = f"{hours[0]}{int(hours[1:])}" if minutes == "00" else f"{hours}:{minutes}"
    return _("%(zone)s time (UTC%(offset)s)") % {"zone": city(zone), "offset": said}


def city(zone: str) -> str:
    return get_timezone_location(zone, locale=locale(), return_city=True)


def moment_in_words(at: datetime, zone: str = "") -> str:
    """A day and its time in the zone, or in the installation's; seconds and milliseconds only where there are any."""
    local = at.astimezone(ZoneInfo(zone or settings.TIME_ZONE))
    time = formats.time_format(local, "H:i:s" if local.second or local.microsecond else "H:i")
    if local.microsecond:
        time += f".{local.microsecond // 1000:03}"
    return _("%(day)s, %(time)s") % {"day": formats.date_format(local, "DATE_FORMAT"), "time": time}
