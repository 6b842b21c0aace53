"""`manage.py rotate_secrets`: a SECRET_KEY can be changed, and the former one thrown away."""

from io import StringIO

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Team, User
from accounts.secrets import decrypt, encrypt
from billing.models import Webhook
from gateway.models import Engine, EngineType

FORMER, PRESENT = "a former secret of more than 32 characters", "the present secret, of more than 32 too"


@pytest.fixture
def stored(settings: LazySettings, red: Team, alice: User) -> None:
    """An engine, a webhook and two kinds of second factors, all with the former key."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = FORMER, []
    Engine.objects.create(name="big", type=EngineType.OPENAI, url="http://127.0.0.1:1", secret=encrypt("sk-engine"))
    Engine.objects.create(name="open", type=EngineType.OPENAI, url="http://127.0.0.1:2")
    Webhook.objects.create(
        team=red, url="https://example.com/hook", secret=encrypt("whsec_x"), created_at=timezone.now()
    )
    TOTP.activate(alice, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(alice)


def rotate() -> str:
    out = StringIO()
    call_command("rotate_secrets", stdout=out)
    return out.getvalue().strip()


def test_after_it_the_former_key_is_not_needed(settings: LazySettings, stored: None, alice: User) -> None:
    codes = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = PRESENT, [FORMER]
    assert rotate() == "4"
    settings.SECRET_KEY_FALLBACKS = []
    assert decrypt(Engine.objects.get(name="big").secret) == "sk-engine"
    assert decrypt(Webhook.objects.get().secret) == "whsec_x"
    assert decrypt(Authenticator.objects.get(type="totp").data["secret"]) == "JBSWY3DPEHPK3PXP"
    assert RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes() == codes
    assert Engine.objects.get(name="open").secret == ""


def test_what_another_key_encrypted_is_named_and_left_and_the_rest_is_done(
    settings: LazySettings, stored: None
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = PRESENT, []
    Engine.objects.create(name="new", type=EngineType.OPENAI, url="http://127.0.0.1:3", secret=encrypt("sk-new"))
    before = Engine.objects.get(name="big").secret
    with pytest.raises(CommandError, match=r"the engine big\n"):
        rotate()
    assert Engine.objects.get(name="big").secret == before
    assert decrypt(Engine.objects.get(name="new").secret) == "sk-new"
