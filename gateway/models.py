"""The engines that serve models, and the models as callers see them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from gateway.engines.facts import DEFAULT_RESERVE


class EngineType(models.TextChoices):
    OPENAI = "openai", _("OpenAI-compatible")
    VLLM = "vllm", "vLLM"
    OLLAMA = "ollama", "Ollama"
    LLAMACPP = "llamacpp", "llama.cpp"
    DEMO = "demo", _("Demo")


class Engine(models.Model):
    """A server of models. Made by operators only; callers never name its address."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    type = models.CharField(_("type"), max_length=16, choices=EngineType)
    url = models.URLField(_("base URL"), max_length=500, blank=True)  # up to and without /v1; blank for demo
    secret = models.TextField(blank=True)  # encrypted, see gateway.secrets; blank: none
    machine_name = models.CharField(_("machine name"), max_length=100, blank=True)  # a label, not a host name
    enabled = models.BooleanField(default=True)
    weight = models.PositiveSmallIntegerField(
        _("weight"), default=1, help_text=_("Its share of the calls to a model that several engines serve; 0: spare.")
    )
    max_concurrent = models.PositiveSmallIntegerField(
        _("concurrent calls"), null=True, blank=True, help_text=_("More wait for their turn. Empty: no limit.")
    )
    # Names of request fields beyond the documented ones that may reach the engine; null: any that is not denied.
    allowed_fields = ArrayField(models.CharField(max_length=100), null=True, blank=True, default=None)
    fallback = models.BooleanField(default=False)  # offered only while no other engine is enabled
    created_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=500, blank=True)  # what the last look at it met, in words
    version = models.CharField(max_length=60, blank=True)  # of its program, as it says itself; blank: it does not

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(type__in=EngineType.values), name="engine_type_known"),
        ]

    def __str__(self) -> str:
        return self.name


class ServedModel(models.Model):
    """A model of an engine under the id that callers use. Several engines may serve the same public id."""

    engine = models.ForeignKey(Engine, on_delete=models.CASCADE, related_name="models")
    public_id = models.CharField(max_length=200)
    aliases = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    engine_model = models.CharField(max_length=300)  # the engine's own id
    context_length = models.PositiveIntegerField(null=True, blank=True)  # tokens; null: the engine does not say
    defaults = models.JSONField(default=dict, blank=True)  # what a request that is silent on it gets: temperature, …
    # Tokens of an answer that a budget or credit pays for when neither the caller nor the defaults say how many.
    default_reserve = models.PositiveIntegerField(default=DEFAULT_RESERVE)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    retires_on = models.DateField(null=True, blank=True)  # set: it is deprecated, and callers may rely on it until then
    successor = models.CharField(max_length=200, blank=True)  # the public id of what to use in its stead
    on_status_page = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["engine", "public_id"], name="served_model_once"),
            models.CheckConstraint(
                condition=models.Q(successor="") | models.Q(retires_on__isnull=False), name="successor_of_deprecated"
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class RememberedRequest(models.Model):
    """A request that bore an Idempotency-Key. Neither its text nor its answer is kept."""

    key_id = models.BigIntegerField()
    path = models.CharField(max_length=100)
    name = models.CharField(max_length=255)  # the header
    body = models.BinaryField(max_length=32)  # SHA-256
    request_id = models.UUIDField(unique=True)
    at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key_id", "path", "name"], name="request_remembered_once")]

    def __str__(self) -> str:
        return str(self.request_id)


class CounterReading(models.Model):
    """The last reading of an engine's own counters, from which the next one's increase is taken."""

    engine = models.OneToOneField(Engine, on_delete=models.CASCADE, primary_key=True, related_name="reading")
    tried_at = models.DateTimeField()
    problem = models.CharField(max_length=500, blank=True)  # what the last try met, in words
    has_none = models.BooleanField(default=False)  # it answers, and has no counters: asked again only now and then
    url = models.URLField(max_length=500, blank=True)  # where it was read; another address has other counters
    read_at = models.DateTimeField(null=True)
    process = models.CharField(max_length=100, blank=True)  # changes when the engine starts anew; blank: not known
    counters = models.JSONField(default=dict)  # the engine's name of a model → [prompt, completion, requests or null]

    def __str__(self) -> str:
        return f"{self.engine_id} at {self.read_at}"


class CountedDay(models.Model):
    """What an engine itself counted in a day of UTC: engines know no team's time zone, and several teams share one.

    The engine by its name of that time, as the log has it.
    """

    engine = models.CharField(max_length=100)
    model = models.CharField(max_length=300, blank=True)  # the engine's own name for it; blank: it names none
    day = models.DateField()
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(null=True)  # null: it does not count them
    with_cached = models.BooleanField(default=True)  # prompt tokens from its cache are among the prompt tokens
    grain = models.BigIntegerField(default=0)  # tokens by which the rounding of its numbers may be off
    begins_at = models.DateTimeField()  # what the counters rose from here …
    ends_at = models.DateTimeField()  # … until here
    restarts = models.IntegerField(default=0)
    lost_seconds = models.IntegerField(default=0)  # before a restart, at most: what was counted then is not known
    spread_seconds = models.IntegerField(default=0)  # without a reading over midnight: shared out by time

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "engine", "model"], name="counted_day_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.engine} {self.model}"


class LoggedDay(models.Model):
    """What the log has of an engine for a day of UTC, by the calls' beginning; made anew when the day's log changes."""

    engine = models.CharField(max_length=100)
    day = models.DateField()
    requests = models.BigIntegerField()
    prompt_tokens = models.BigIntegerField()
    completion_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    guessed_prompt_tokens = models.BigIntegerField()  # those that are not the engine's own count
    guessed_completion_tokens = models.BigIntegerField()
    crossing_tokens = models.BigIntegerField()  # of calls that ended after the day
    earlier_requests = models.BigIntegerField()  # before the day's first reading, and in none of the sums above
    earlier_tokens = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "engine"], name="logged_day_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.engine}"


class SummedDay(models.Model):
    """What a day's sums in LoggedDay were made from, so that a late row of the log makes them anew."""

    day = models.DateField(primary_key=True)
    mark = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.day}"


class Pulse(models.Model):
    """What a web process says of itself every few seconds, in place of what it said before (`gateway.monitor`).

    The table is unlogged: what it holds is worth nothing after a crash.
    """

    process = models.UUIDField(primary_key=True)
    at = models.DateTimeField(db_default=Now())  # by the database's clock: machines' clocks differ
    told = models.JSONField()

    def __str__(self) -> str:
        return f"{self.process} at {self.at}"


class LastUse(models.Model):
    """On which day a model was last used by anybody, by its id of that time (`gateway.use.last`)."""

    model = models.CharField(max_length=200, primary_key=True)
    day = models.DateField()  # of the installation's time zone, as the platform's roll-ups

    def __str__(self) -> str:
        return f"{self.model} {self.day}"


class Health(models.TextChoices):
    WORKS = "works", _("Works")
    SLOW = "slow", _("Slow")
    DOWN = "down", _("Not working")


class Spell(models.Model):
    """A time in which a model, or the platform, was in one state without a break. Between two, nobody looked.

    `gateway.availability.spells` writes it. The last one of a model is its state now, since when it begins.
    """

    model = models.CharField(max_length=200, blank=True)  # public id; blank: the platform
    state = models.CharField(max_length=8, choices=Health)
    begins_at = models.DateTimeField()
    ends_at = models.DateTimeField()  # moves on with each look that finds the same

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "begins_at"], name="spell_begins_once"),
            models.CheckConstraint(condition=models.Q(ends_at__gte=models.F("begins_at")), name="spell_not_backwards"),
            models.CheckConstraint(condition=models.Q(state__in=Health.values), name="spell_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.model or 'platform'} {self.state} from {self.begins_at}"
