"""What a session is worth while a socket stays open: it was read when the socket opened, and may have ended since."""

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.models import User


@dataclass(frozen=True, slots=True)
class Watch:
    """An open socket: who opened it, and under which session."""

    session_key: str
    user_id: int


def opens(session: Session, user_id: int, password: str) -> bool:
    """Whether the session belongs to the user and was opened with the password that is theirs today."""
    data, user = session.get_decoded(), User(pk=user_id, password=password)
    digests = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    given = str(data.get(HASH_SESSION_KEY, ""))
    return data.get(SESSION_KEY) == str(user_id) and any(constant_time_compare(given, digest) for digest in digests)


def operators_among(watches: Collection[Watch]) -> set[Watch]:
    """Those who are signed in, active and operators now. Two queries, however many they are."""
    people = User.objects.filter(pk__in={one.user_id for one in watches}, is_active=True, is_operator=True)
    passwords = dict(people.values_list("pk", "password"))
    keys = {one.session_key for one in watches}
    sessions = {
        row.session_key: row for row in Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    }
    return {
        one
        for one in watches
        if one.user_id in passwords
        and one.session_key in sessions
        and opens(sessions[one.session_key], one.user_id, passwords[one.user_id])
    }
