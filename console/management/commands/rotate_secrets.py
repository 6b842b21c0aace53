from django.core.management.base import BaseCommand, CommandError, no_translations

from console.secrets import rotate_secrets


class Command(BaseCommand):
    help = (
        "Encrypts the keys of engines, the secrets of webhooks and second factors with the present SECRET_KEY, and "
        "prints how many. Former keys must stand in SECRET_KEY_FALLBACKS; afterwards they need not any more."
    )

    @no_translations
    def handle(self, **options: object) -> str:
        rotated = rotate_secrets()
        if rotated.unreadable:
            self.stdout.write(str(rotated.number))
            lost = "\n".join(f"  {one}" for one in rotated.unreadable)
            raise CommandError(f"Stored with a key that is neither SECRET_KEY nor in SECRET_KEY_FALLBACKS:\n{lost}")
        return str(rotated.number)
