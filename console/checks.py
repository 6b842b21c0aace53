"""What `manage.py check --deploy` says of an installation beyond Django's own checks.

A missing secret or plain http is no matter for a check: the settings refuse to load (console.env).
"""

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register


@register(Tags.security, deploy=True)
def proxies_are_named(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """https is ended by a proxy: unnamed, it hides callers' addresses, and no page is told to be secure."""
    if not settings.SECURE_TRANSPORT or settings.TRUSTED_NETWORKS:
        return []
    hint = "Name the proxy's address or network in TRUSTED_PROXIES."
    return [checks.Warning("BASE_URL is https, yet no proxy is trusted.", hint=hint, id="tertulia.W001")]


@register(Tags.security, deploy=True)
def transport_is_encrypted(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.SECURE_TRANSPORT:
        return []
    return [
        checks.Error("BASE_URL is plain http.", hint="Put a proxy with a certificate in front.", id="tertulia.E001")
    ]
