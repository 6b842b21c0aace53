"""The engines that serve models, and the models as callers see them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
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

    class Meta:
        constraints = [models.UniqueConstraint(fields=["engine", "public_id"], name="served_model_once")]

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
