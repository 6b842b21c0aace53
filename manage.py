#!/usr/bin/env python
"""Tertulia's command line: `manage.py help` lists the commands."""

import os
import sys

from console.database import database_for
from console.errors import ConsoleError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    from django.core.management import execute_from_command_line

    try:
        with database_for(sys.argv):
            execute_from_command_line(sys.argv)
    except ConsoleError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
