"""How allauth behaves here."""

from collections.abc import Iterable

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.http import HttpRequest

from accounts import departures
from accounts.access import signed_in
from accounts.secrets import decrypt, encrypt


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.ENVIRONMENT.signup == "open")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Home, and not the same form again: a newcomer sets a password on the way in."""
        return settings.LOGIN_REDIRECT_URL

    def logout(self, request: HttpRequest) -> None:
        """Open pages are closed too. Not by the signal of the same name: it is sent while the session still lives."""
        user = signed_in(request.user)
        super().logout(request)
        departures.announce(user.pk)


class UserSessionsAdapter(DefaultUserSessionsAdapter):
    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        """Other browsers signed out from this one: their open pages are closed too."""
        ended = list(sessions)
        super().end_sessions(ended)
        for user_id in {session.user_id for session in ended}:
            departures.announce(user_id)


class MFAAdapter(DefaultMFAAdapter):
    """Second factors are stored encrypted."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
