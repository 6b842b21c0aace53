"""Refused calls in words."""

from django.utils.translation import gettext as _


def why_refused(code: str, reason: str) -> str:
    """In a few words; a code that has none yet, as it is."""
    whose, _colon, window = reason.partition(":")
    if window:
        windows = {
            "concurrent-requests": _("limit of requests at once"),
            "requests-per-minute": _("limit of requests a minute"),
            "tokens-per-minute": _("limit of tokens a minute"),
            "output-tokens-per-hour": _("limit of output tokens an hour"),
            "requests-per-day": _("limit of requests a day"),
            "tokens-per-day": _("limit of tokens a day"),
            "output-tokens-per-day": _("limit of output tokens a day"),
        }
        owners = {"team": _("the team's"), "key": _("the key's"), "member": _("the person's")}
        return _("%(whose)s %(window)s") % {
            "whose": owners.get(whose, whose),
            "window": windows.get(window, window),
        }
    return {
        "rate_limit_exceeded": _("a limit"),
        "insufficient_quota": _("a budget or credit that is used up"),
        "model_not_found": _("a model that does not exist for the team"),
        "model_not_allowed": _("a model that the key may not use"),
        "invalid_value": _("a wrong value in the request"),
        "missing_required_parameter": _("something missing in the request"),
        "request_too_large": _("a request that is too large"),
        "unsupported_media_type": _("a request that is no JSON"),
        "idempotency_conflict": _("a request that was made before"),
        "idempotency_mismatch": _("an Idempotency-Key of another request"),
        "service_unavailable": _("no engine, no database, or the server was stopping"),
        "overloaded": _("engines without room"),
        "model_without_price": _("a model without a price"),
        "internal_error": _("our error"),
    }.get(code, code)
