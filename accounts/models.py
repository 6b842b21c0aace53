"""Who people are: users, teams, memberships, API keys, and what was done by whom."""

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: object) -> "User":
        """A user who can sign in once an `EmailAddress` row confirms the address (see `accounts.people`)."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person. The e-mail address, kept in lower case, is the login."""

    email = models.EmailField(_("e-mail address"), unique=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    is_active = models.BooleanField(default=True)
    is_operator = models.BooleanField(
        default=False, help_text=_("May manage engines, models and teams. Gives no right inside a team.")
    )
    language = models.CharField(_("language"), max_length=8, blank=True)
    theme = models.CharField(_("theme"), max_length=8, blank=True)
    date_joined = models.DateTimeField(default=timezone.now)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_lower_unique")]

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def initials(self) -> str:
        words = (self.name or self.email.partition("@")[0].replace(".", " ")).split()
        return "".join(word[0] for word in words[:2]).upper()


class Role(models.TextChoices):
    OWNER = "owner", _("owner")
    ADMIN = "admin", _("admin")
    MEMBER = "member", _("member")
    VIEWER = "viewer", _("viewer")


class Dialect(models.TextChoices):
    """Which vendor's habits the API's answers follow where vendors differ. `gateway.dialects` says how."""

    OPENAI = "openai", _("OpenAI")
    SAPTIVA = "saptiva", _("Saptiva")
    SAPTIVA_STRICT = "saptiva-strict", _("Saptiva, with its obligatory parameters")


class Team(models.Model):
    """A group of people who share keys, models and a bill."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(_("name"), max_length=100)
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC")
    members_may_create_keys = models.BooleanField(default=True)
    dialect = models.CharField(_("API dialect"), max_length=16, choices=Dialect, default=Dialect.OPENAI)
    created_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True)
    # Last, because below it in this class body the name hides Django's module. Public model ids; null means all.
    models = ArrayField(models.CharField(max_length=200), null=True, blank=True, default=None)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.MEMBER)
    joined_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "team"], name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.team} · {self.role}"


class ApiKey(models.Model):
    """A secret that programs call with. Only its SHA-256 digest is stored."""

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(_("name"), max_length=100)
    owner = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="keys"
    )  # null: a service key, which belongs to the team
    digest = models.BinaryField(max_length=32, unique=True)
    start = models.CharField(max_length=4)  # the first four characters after the prefix
    end = models.CharField(max_length=4)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    last_used_at = models.DateTimeField(null=True, blank=True)
    dialect = models.CharField(_("API dialect"), max_length=16, choices=Dialect, blank=True)  # blank: the team's
    form_id = models.UUIDField(null=True, blank=True, unique=True)  # of the form that made it: sent twice, it makes one
    # Last, as in Team. Public model ids; null means all of the team's.
    models = ArrayField(models.CharField(max_length=200), null=True, blank=True, default=None)

    class Meta:
        indexes = [models.Index(fields=["team", "-created_at"])]

    def __str__(self) -> str:
        return self.name

    @property
    def masked(self) -> str:
        """What people may see of the key after its creation."""
        return f"sk-tert-{self.start}…{self.end}"

    @property
    def state(self) -> str:
        if self.revoked_at:
            return "revoked"
        if self.expires_at and self.expires_at <= timezone.now():
            return "expired"
        return "active"


class Right(models.TextChoices):
    """What an admin key may do."""

    READ_USAGE = "usage:read", _("read usage and costs")


class AdminKey(models.Model):
    """A secret that programs read reports with; it calls no model. Only its SHA-256 digest is stored.

    It can do what the person who made it may do at the moment of use, and nothing once that is over.
    """

    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, null=True, blank=True, related_name="admin_keys"
    )  # null: of the whole platform
    name = models.CharField(_("name"), max_length=100)
    right = models.CharField(max_length=20, choices=Right, default=Right.READ_USAGE)
    digest = models.BinaryField(max_length=32, unique=True)
    start = models.CharField(max_length=4)  # the first four characters after the prefix
    end = models.CharField(max_length=4)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    last_used_at = models.DateTimeField(null=True, blank=True)
    form_id = models.UUIDField(null=True, blank=True, unique=True)  # of the form that made it: sent twice, it makes one

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(right__in=Right.values), name="admin_key_right_known")]

    def __str__(self) -> str:
        return self.name

    @property
    def masked(self) -> str:
        """What people may see of the key after its creation."""
        return f"sk-tert-admin-{self.start}…{self.end}"


class AuditEntry(models.Model):
    """What somebody did, with the names as they were then. Rows are never changed."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    actor_name = models.CharField(max_length=254, blank=True)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="+")
    action = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    subject_name = models.CharField(max_length=254, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["team", "-at"])]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.action} {self.subject_name}"


class Revision(models.Model):
    """One row: the number that every change of what /v1 holds in memory raises, in its own transaction."""

    number = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="revision_single_row")]

    def __str__(self) -> str:
        return str(self.number)
