"""The product's settings with a secret and a data folder of the tests' own."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("SECRET_KEY", "tests only: 7d1f0c2b9a8e6543 a secret of fair length")
os.environ["TERTULIA_DATA"] = tempfile.mkdtemp(prefix="tertulia-tests-")
Path(os.environ["TERTULIA_DATA"]).chmod(0o711)  # the database server's account passes through

from console.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
