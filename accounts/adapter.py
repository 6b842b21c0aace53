"""How allauth behaves here."""

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.http import HttpRequest

from accounts.secrets import decrypt, encrypt


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.ENVIRONMENT.signup == "open")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Home, and not the same form again: a newcomer sets a password on the way in."""
        return settings.LOGIN_REDIRECT_URL


class MFAAdapter(DefaultMFAAdapter):
    """Second factors are stored encrypted."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
