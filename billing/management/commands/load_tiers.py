from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from billing.limits.presets import BY_NAME
from billing.limits.tiers import load_preset


class Command(BaseCommand):
    help = "Adds a vendor's published tiers, and prints those that are new. Teams get one on the page of tiers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("preset", choices=BY_NAME)

    def handle(self, *args: Any, preset: str, **options: Any) -> None:
        for tier in load_preset(preset=BY_NAME[preset], by=None):
            self.stdout.write(tier.name)
