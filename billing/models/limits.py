"""Limits of teams, keys and members, which `billing.limits.tiers` writes and `billing.limits.windows` explains."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, Team, User
from billing.limits.windows import WINDOWS, Bounds


class Limits(models.Model):
    """The same columns wherever there are limits; null: unlimited."""

    requests_per_minute = models.PositiveBigIntegerField(
        _("Requests a minute"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    requests_per_day = models.PositiveBigIntegerField(
        _("Requests a day"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    tokens_per_minute = models.PositiveBigIntegerField(
        _("Tokens a minute"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    tokens_per_day = models.PositiveBigIntegerField(
        _("Tokens a day"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    output_tokens_per_hour = models.PositiveBigIntegerField(
        _("Output tokens an hour"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    output_tokens_per_day = models.PositiveBigIntegerField(
        _("Output tokens a day"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    concurrent_requests = models.PositiveBigIntegerField(
        _("Requests at once"), null=True, blank=True, validators=[MinValueValidator(1)]
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    *(models.Q(**{window.field: None}) | models.Q(**{f"{window.field}__gte": 1}) for window in WINDOWS)
                ),
                name="%(class)s_limits_positive",
            )
        ]

    @property
    def bounds(self) -> Bounds:
        return Bounds(**{window.field: getattr(self, window.field) for window in WINDOWS})


class Tier(Limits):
    """Limits under a name, which operators give to teams."""

    name = models.CharField(_("Name"), max_length=100, unique=True)
    is_default = models.BooleanField(default=False)  # of the teams that were given none
    note = models.CharField(max_length=200, blank=True)  # where its figures come from

    class Meta(Limits.Meta):
        constraints = [
            *Limits.Meta.constraints,
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="tier_one_default"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TeamTier(models.Model):
    team = models.OneToOneField(Team, on_delete=models.CASCADE, related_name="+")
    tier = models.ForeignKey(Tier, on_delete=models.CASCADE, related_name="teams")

    def __str__(self) -> str:
        return f"{self.team} · {self.tier}"


class KeyLimit(Limits):
    key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return str(self.key)


class MemberLimit(Limits):
    """Of what a person calls on a team's account: in the chat, and with personal keys."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")

    class Meta(Limits.Meta):
        constraints = [
            *Limits.Meta.constraints,
            models.UniqueConstraint(fields=["team", "user"], name="member_limit_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.team}"
