"""The alerts page of a team and the operators', and what is changed there. Each section's form has an own address."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.middleware import HtmxDetails

from accounts.access import has_role, require_operator, role_in, signed_in, team_for
from accounts.models import Role, Team, User
from billing.alerts.forms import HearersForm, WatchForm, WebhookForm
from billing.alerts.letters import read_stop
from billing.alerts.links import page_of
from billing.alerts.show import deliveries_of, dismiss, is_waiting, moment, open_alerts, past_alerts, zone_of
from billing.alerts.webhooks import remove_webhook, renew_secret, start_again, try_out, webhooks_of
from billing.alerts.wishes import decline, hearers, watching_of
from billing.models import Alert, Webhook
from billing.moments import zone_in_words

PAGE = "billing/alerts.html"


@require_GET
def alerts_page(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug)
    return render(request, PAGE, _context(team, signed_in(request.user)))


@require_GET
def platform_page(request: HttpRequest) -> HttpResponse:
    user = require_operator(request.user)
    return render(request, PAGE, _context(None, user))


@require_GET
def sent(request: HttpRequest, slug: str) -> HttpResponse:
    """What went out, drawn anew while something waits."""
    team = team_for(request.user, slug, role=Role.ADMIN)
    return render(request, f"{PAGE}#sent", _sent(team))


@require_GET
def platform_sent(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    return render(request, f"{PAGE}#sent", _sent(None))


@require_POST
def watch(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    user = signed_in(request.user)
    form = WatchForm.of(watching_of(team), request.POST)
    if not form.is_valid():
        return render(request, PAGE, _context(team, user) | {"watch_form": form}, status=422)
    form.save(team=team, by=user)
    messages.success(request, _("Saved."))
    return redirect(page_of(team))


@require_POST
def people(request: HttpRequest, slug: str) -> HttpResponse:
    team = team_for(request.user, slug, role=Role.ADMIN)
    form = HearersForm(request.POST, people=hearers(team))
    if form.is_valid():
        form.save(team=team, by=signed_in(request.user))
        messages.success(request, _("Saved."))
    return redirect(f"{page_of(team)}#people")


@require_POST
def mine(request: HttpRequest, slug: str) -> HttpResponse:
    """What somebody wants to get for himself: whoever may read the reports may decline them."""
    return _mine(request, team_for(request.user, slug))


@require_POST
def platform_mine(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    return _mine(request, None)


def _mine(request: HttpRequest, team: Team | None) -> HttpResponse:
    user = signed_in(request.user)
    decline(team=team, user=user, alerts="alerts" not in request.POST, reports="reports" not in request.POST, by=user)
    messages.success(request, _("Saved."))
    return redirect(f"{page_of(team)}#people")


@never_cache
@require_POST
def add(request: HttpRequest, slug: str) -> HttpResponse:
    return _add(request, team_for(request.user, slug, role=Role.ADMIN))


@never_cache
@require_POST
def platform_add(request: HttpRequest) -> HttpResponse:
    require_operator(request.user)
    return _add(request, None)


def _add(request: HttpRequest, team: Team | None) -> HttpResponse:
    """The answer is the one time that the secret is shown. Loading it again posts again: the address is there then."""
    user = signed_in(request.user)
    form = WebhookForm(request.POST)
    made = form.save(team=team, by=user) if form.is_valid() else None
    if made is None:
        return render(request, PAGE, _context(team, user) | {"webhook_form": form}, status=422)
    hook, secret = made
    return _secret(request, hook, secret, team)


def _secret(request: HttpRequest, hook: Webhook, secret: str, team: Team | None) -> HttpResponse:
    context = {"hook": hook, "secret": secret, "page": page_of(team), "banner": None}
    return render(request, "billing/webhook_secret.html", context)


@never_cache
@require_POST
def webhook(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    return _change(request, team_for(request.user, slug, role=Role.ADMIN), pk)


@never_cache
@require_POST
def platform_webhook(request: HttpRequest, pk: int) -> HttpResponse:
    require_operator(request.user)
    return _change(request, None, pk)


def _change(request: HttpRequest, team: Team | None, pk: int) -> HttpResponse:
    hook = get_object_or_404(Webhook.objects.select_related("team"), pk=pk, team=team)
    user = signed_in(request.user)
    match request.POST.get("do"):
        case "try":
            try_out(hook=hook, by=user)
            messages.info(request, _("A test is on its way. The list below says how it ended."))
            return redirect(f"{page_of(team)}#sent")
        case "start":
            start_again(hook=hook, by=user)
            messages.success(request, _("It gets alerts again."))
        case "remove":
            remove_webhook(hook=hook, by=user)
            messages.success(request, _("Removed."))
        case "renew":
            return _secret(request, hook, renew_secret(hook=hook, by=user), team)
    return redirect(f"{page_of(team)}#webhooks")


@require_POST
def put_away(request: HttpRequest, slug: str, alert: UUID) -> HttpResponse:
    return _put_away(request, team_for(request.user, slug), alert)


@require_POST
def platform_put_away(request: HttpRequest, alert: UUID) -> HttpResponse:
    require_operator(request.user)
    return _put_away(request, None, alert)


def _put_away(request: HttpRequest, team: Team | None, alert: UUID) -> HttpResponse:
    dismiss(alert=get_object_or_404(Alert, pk=alert, team=team), user=signed_in(request.user))
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx's middleware
    if htmx:
        return HttpResponse()
    after = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(after, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return redirect(after if safe else page_of(team))


@csrf_exempt  # the link itself is the right to it, and mail programs press the button (RFC 8058)
@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def stop_mail(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows a button and POST declines, since programs look at links before people do."""
    found = read_stop(token)
    user = User.objects.filter(pk=found["user"], is_active=True).first() if found else None
    team = Team.objects.filter(pk=found["team"]).first() if found and found["team"] else None
    if found is None or user is None or (found["team"] and team is None):
        return render(request, "billing/stop_mail.html", {"state": "unknown"}, status=404)
    context = {"state": "asked", "what": found["what"], "where": team.name if team else _("the platform")}
    if request.method == "POST":
        reports = found["what"] == "reports"
        decline(team=team, user=user, alerts=None if reports else True, reports=True if reports else None, by=user)
        context["state"] = "done"
    return render(request, "billing/stop_mail.html", context)


def _context(team: Team | None, user: User) -> dict[str, Any]:
    watching = watching_of(team) if team else None
    told = hearers(team)
    role = role_in(user, team) if team else None
    may_change = team is None or has_role(role, Role.ADMIN)
    return (_sent(team) if may_change else {}) | {
        "shown": team,
        "banner": None,  # all of them stand on this page
        "open": open_alerts(team, user, role),
        "past": past_alerts(team, user, role),
        "may_change": may_change,
        "watching": watching,
        "watch_form": WatchForm.of(watching) if watching else None,
        "people": told,
        "me": next((one for one in told if one.user == user), None),
        "webhooks": [_hook(hook, team, whole=may_change) for hook in webhooks_of(team)],
        "webhook_form": WebhookForm(),
        "zone": zone_in_words(timezone.now().astimezone(zone_of(team)), zone_of(team).key),
        "mail_goes_out": bool(settings.ENVIRONMENT.email_url),
    }


def _hook(hook: Webhook, team: Team | None, *, whole: bool) -> dict[str, Any]:
    zone = zone_of(team)
    return {
        "pk": hook.pk,
        "url": hook.url if whole else str(hook),
        "answered": moment(hook.answered_at, zone) if hook.answered_at else "",
        "failing": moment(hook.failing_since, zone) if hook.failing_since else "",
        "stopped": moment(hook.stopped_at, zone) if hook.stopped_at else "",
    }


def _sent(team: Team | None) -> dict[str, Any]:
    went = deliveries_of(team)
    return {"shown": team, "sent": went, "waiting": is_waiting(went)}
