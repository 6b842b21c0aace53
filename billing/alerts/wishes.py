"""What teams are told of, and who of them. Operators are told of the platform's: `team` None."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.models import Membership, Role, Team, User
from billing.models import Listener, Watching

TELLS_BY_DEFAULT = (Role.OWNER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Hearer:
    """Somebody of a team, and which of its mails come to him. `declined…`: the person's own wish, which stands above
    the team's.
    """

    user: User
    role: str
    alerts: bool
    reports: bool
    declined_alerts: bool = False
    declined_reports: bool = False

    @property
    def hears_alerts(self) -> bool:
        return self.alerts and not self.declined_alerts

    @property
    def hears_reports(self) -> bool:
        return self.reports and not self.declined_reports


def watching_of(team: Team) -> Watching:
    return Watching.objects.filter(team=team).first() or Watching(team=team)


@transaction.atomic
def watch(*, team: Team, by: User | None, **wanted: Any) -> Watching:
    """`wanted`: fields of `Watching`."""
    Team.objects.select_for_update(no_key=True).get(pk=team.pk)
    watching = watching_of(team)
    before = {name: getattr(watching, name) for name in wanted}
    changed = {name: value for name, value in wanted.items() if value != before[name]}
    if not changed:
        return watching
    for name, value in changed.items():
        setattr(watching, name, value)
    watching.save()
    said = {f"{name}_before": before[name] for name in changed}
    audit.record("alerts.watching_changed", by=by, team=team, subject=team, **changed, **said)
    return watching


def hearers(team: Team | None) -> list[Hearer]:
    """The team's active people by name, or the operators."""
    wishes = {wish.user_id: wish for wish in Listener.objects.filter(_of(team))}
    if team is None:
        people = [(user, "operator") for user in User.objects.filter(is_operator=True, is_active=True)]
    else:
        members = Membership.objects.filter(team=team, user__is_active=True).select_related("user")
        people = [(row.user, row.role) for row in members]
    found = [_hearer(user, role, wishes.get(user.pk)) for user, role in people]
    return sorted(found, key=lambda one: str(one.user).casefold())


@transaction.atomic
def choose(*, team: Team, alerts: set[int], reports: set[int], by: User | None) -> None:
    """Who of the team gets which mails, by the people's ids."""
    for hearer in hearers(team):
        wanted = (hearer.user.pk in alerts, hearer.user.pk in reports)
        if wanted == (hearer.alerts, hearer.reports):
            continue
        Listener.objects.update_or_create(
            team=team, user=hearer.user, defaults={"alerts": wanted[0], "reports": wanted[1]}
        )
        audit.record(
            "alerts.hearer_changed", by=by, team=team, subject=hearer.user, alerts=wanted[0], reports=wanted[1]
        )


@transaction.atomic
def decline(
    *, team: Team | None, user: User, alerts: bool | None = None, reports: bool | None = None, by: User | None
) -> None:
    """What somebody does not want, or wants again; None leaves it as it is."""
    wish, _ = Listener.objects.select_for_update().get_or_create(team=team, user=user)
    before = (wish.declines_alerts, wish.declines_reports)
    if alerts is not None:
        wish.declines_alerts = alerts
    if reports is not None:
        wish.declines_reports = reports
    if before == (wish.declines_alerts, wish.declines_reports):
        return
    wish.save(update_fields=["declines_alerts", "declines_reports"])
    audit.record(
        "alerts.declined", by=by, team=team, subject=user,
        alerts=wish.declines_alerts, reports=wish.declines_reports,
    )  # fmt: skip


def _hearer(user: User, role: str, wish: Listener | None) -> Hearer:
    usual = role in {*TELLS_BY_DEFAULT, "operator"}
    if wish is None:
        return Hearer(user, role, usual, usual)
    return Hearer(
        user,
        role,
        usual if wish.alerts is None else wish.alerts,
        usual if wish.reports is None else wish.reports,
        wish.declines_alerts,
        wish.declines_reports,
    )


def _of(team: Team | None) -> Q:
    return Q(team=None) if team is None else Q(team=team)
