"""Secrets at rest: engine keys, second factors and the like, readable with SECRET_KEY alone.

The key for Fernet (AES-128-CBC with HMAC-SHA256) is drawn from SECRET_KEY by HKDF (RFC 5869); earlier secrets in
SECRET_KEY_FALLBACKS still decrypt.
"""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from accounts.errors import UnreadableSecret

UNREADABLE = "This secret was stored with another SECRET_KEY. Enter it again."


def encrypt(text: str) -> str:
    return _box(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Raises UnreadableSecret when the secret was made with a SECRET_KEY that is gone."""
    try:
        return _box(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret(UNREADABLE) from error


def rotate(token: str) -> str:
    """The same secret as the present SECRET_KEY alone encrypts it. Raises UnreadableSecret as `decrypt`."""
    try:
        return _box(settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS).rotate(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret(UNREADABLE) from error


@lru_cache
def _box(*keys: str) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys])


def _derived(key: str) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tertulia secrets at rest")
    return base64.urlsafe_b64encode(hkdf.derive(key.encode()))
