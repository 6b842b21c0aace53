"""Prices by model and time."""

from typing import Any

from django.db import models

PRICE: dict[str, Any] = {"max_digits": 18, "decimal_places": 8}
COST: dict[str, Any] = {"max_digits": 24, "decimal_places": 12}
KIND_COST: dict[str, Any] = {"max_digits": 26, "decimal_places": 14}  # tokens times their price, never rounded


class Price(models.Model):
    """What a million tokens of a model cost from a moment on, in the installation's currency."""

    model = models.CharField(max_length=200)
    effective_from = models.DateTimeField()
    input = models.DecimalField(**PRICE)
    cached_input = models.DecimalField(**PRICE, null=True, blank=True)  # null: as input
    output = models.DecimalField(**PRICE)
    reasoning = models.DecimalField(**PRICE, null=True, blank=True)  # null: as output

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "effective_from"], name="price_once")]

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_from:%Y-%m-%d}"
