"""Forms of the budget page and of the operator's credit pages."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, Membership, Team, User
from billing.budgets.credit import LARGEST, correct, top_up
from billing.budgets.monthly import set_budget
from billing.models import Budget, CreditEntry, Unit

MOST = Decimal(10) ** 15  # tokens or money of a month
DECIMALS = 6  # of an amount of money that people type

type Subject = ApiKey | User | None


class AmountForm(forms.Form):
    """What may be used in a month, in tokens or in money. A form with more fields extends it."""

    unit = forms.ChoiceField(label=_("Unit"), choices=Unit.choices)
    amount = forms.DecimalField(
        label=_("Amount in a month"),
        min_value=0,
        max_value=MOST,
        decimal_places=DECIMALS,
        localize=True,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["unit"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (Unit.TOKENS.value, Unit.TOKENS.label),
            (Unit.MONEY.value, settings.ENVIRONMENT.currency),
        ]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        amount = cleaned.get("amount")
        if cleaned.get("unit") != Unit.MONEY and amount is not None and amount % 1:
            self.add_error("amount", _("Tokens are whole numbers."))
        return cleaned


class BudgetForm(AmountForm):
    """A budget of the team, of a key or of a member. What it names already has one of this unit, which changes."""

    subject = forms.ChoiceField(label=_("Whose"))
    end = forms.ChoiceField(
        label=_("When it is used up"),
        choices=[("hard", _("refuse further calls")), ("soft", _("let calls go on, and show it"))],
        initial="hard",
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._team = team
        self._subjects: dict[str, Subject] = {"team": None}
        keys = ApiKey.objects.filter(team=team, revoked_at=None).order_by("name", "pk")
        members = Membership.objects.filter(team=team).select_related("user")
        people = sorted((row.user for row in members), key=lambda user: str(user).casefold())
        self._subjects |= {f"key-{key.pk}": key for key in keys}
        self._subjects |= {f"member-{person.pk}": person for person in people}
        groups: list[Any] = [("team", _("The whole team"))]
        if keys:
            groups.append((_("A key"), [(f"key-{key.pk}", f"{key.name} · {key.masked}") for key in keys]))
        groups.append((_("A person"), [(f"member-{person.pk}", str(person)) for person in people]))
        self.fields["subject"].choices = groups  # type: ignore[attr-defined]  # a ChoiceField

    @classmethod
    def of(cls, budget: Budget, *, team: Team) -> "BudgetForm":
        """To change this one."""
        subject = f"key-{budget.key_id}" if budget.key_id else f"member-{budget.member_id}"
        return cls(
            team=team,
            initial={
                "subject": subject if budget.key_id or budget.member_id else "team",
                "unit": budget.unit,
                "amount": budget.amount.quantize(Decimal(1)) if budget.amount % 1 == 0 else budget.amount.normalize(),
                "end": "hard" if budget.hard else "soft",
            },
        )

    def save(self, *, by: User) -> Budget:
        given = self.cleaned_data
        subject = self._subjects[given["subject"]]
        return set_budget(
            team=self._team,
            unit=Unit(given["unit"]),
            amount=given["amount"],
            hard=given["end"] == "hard",
            by=by,
            key=subject if isinstance(subject, ApiKey) else None,
            member=subject if isinstance(subject, User) else None,
        )


class CreditForm(forms.Form):
    form_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)
    kind = forms.ChoiceField(
        label=_("What it is"),
        choices=[
            (CreditEntry.Kind.TOP_UP, _("A payment")),
            (CreditEntry.Kind.CORRECTION, _("A correction, which may be below 0")),
        ],
    )
    amount = forms.DecimalField(
        label=_("Amount"),
        min_value=-LARGEST + 1,
        max_value=LARGEST - 1,
        decimal_places=DECIMALS,
        localize=True,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )
    note = forms.CharField(
        label=_("Note"),
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text=_("Such as an invoice's number. The team sees it."),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        amount = cleaned.get("amount")
        if amount == 0 or (amount is not None and amount < 0 and cleaned.get("kind") == CreditEntry.Kind.TOP_UP):
            self.add_error("amount", ValidationError(_("A payment is above 0, and a correction is not 0.")))
        return cleaned

    def save(self, *, team: Team, by: User) -> CreditEntry:
        """Raises AlreadyEntered."""
        given = self.cleaned_data
        enter = correct if given["kind"] == CreditEntry.Kind.CORRECTION else top_up
        return enter(team=team, amount=given["amount"], by=by, note=given["note"], form_id=given["form_id"])
