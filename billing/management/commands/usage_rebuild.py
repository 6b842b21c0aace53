from django.core.management.base import BaseCommand

from billing.auditing import rebuild


class Command(BaseCommand):
    help = "Makes the roll-ups anew from the log. Writers wait meanwhile; nothing is lost."

    def handle(self, **options: object) -> None:
        rebuild()
