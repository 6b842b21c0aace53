"""The environment, read once and typed. No other module reads `os.environ`.

Any variable X may be given as X_FILE instead: the value is then the first line of that file.
"""

import ipaddress
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import environ

from console.errors import BadSetting

ROOT = Path(__file__).resolve().parent.parent
MAIL_SECONDS = 10  # that the mail server may take for a step; without a limit it could hold all background work
SECRET_KEY_LENGTH = 32  # characters at least
KNOWN_SECRETS = ("changeme", "change-me", "secret", "insecure", "django-insecure", "example", "tertulia")


@dataclass(frozen=True, slots=True)
class Environment:
    """Every setting. Times are in seconds, sizes in bytes. docs/operations.md has the table for people."""

    secret_key: str
    secret_key_fallbacks: tuple[str, ...]
    debug: bool
    base_url: str
    allowed_hosts: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    host: str
    port: int
    workers: int
    data: Path
    database_url: str
    redis_url: str
    email_url: str
    email_from: str
    admin_email: str
    admin_password: str
    currency: str
    time_zone: str
    language: str
    signup: Literal["invite", "open"]
    metrics_token: str
    status_page: bool
    auth_lease: int
    drain_seconds: int
    heartbeat_after: float
    connect_seconds: float
    first_byte_seconds: float
    between_bytes_seconds: float
    total_seconds: float
    max_body: int
    spool_sync: Literal["normal", "full"]
    spool_rotate_seconds: float
    retention_log_months: int
    retention_audit_months: int
    local_model: str
    cors_origins: tuple[str, ...]
    image_hosts: tuple[str, ...]
    webhook_hosts: tuple[str, ...]
    insecure_http: bool


def read(given: Mapping[str, str] | None = None) -> Environment:
    """The environment as it is given, or `os.environ` with `.env` beneath it. Raises BadSetting."""
    if given is None:
        given = _with_dotenv(os.environ)
    reader = _Reader(given)
    port = reader.whole("PORT", 8000)
    found = Environment(
        secret_key=reader.text("SECRET_KEY"),
        secret_key_fallbacks=reader.words("SECRET_KEY_FALLBACKS"),
        debug=reader.flag("DEBUG"),
        base_url=reader.text("BASE_URL", f"http://localhost:{port}").rstrip("/"),
        allowed_hosts=reader.words("ALLOWED_HOSTS"),
        trusted_proxies=reader.words("TRUSTED_PROXIES"),
        host=reader.text("HOST", "127.0.0.1"),
        port=port,
        workers=reader.whole("WORKERS", 1),
        data=Path(reader.text("TERTULIA_DATA", str(ROOT / ".data"))).expanduser().absolute(),
        database_url=reader.text("DATABASE_URL"),
        redis_url=reader.text("REDIS_URL"),
        email_url=reader.text("EMAIL_URL"),
        email_from=reader.text("EMAIL_FROM", "Tertulia <tertulia@localhost>"),
        admin_email=reader.text("ADMIN_EMAIL"),
        admin_password=reader.text("ADMIN_PASSWORD"),
        currency=reader.text("CURRENCY", "EUR"),
        time_zone=reader.text("TIME_ZONE", "UTC"),
        language=reader.choice("LANGUAGE", ("en", "es", "fr")),
        signup="open" if reader.choice("SIGNUP", ("invite", "open")) == "open" else "invite",
        metrics_token=reader.text("METRICS_TOKEN"),
        status_page=reader.flag("STATUS_PAGE"),
        auth_lease=reader.whole("AUTH_LEASE", 7200),
        drain_seconds=reader.whole("DRAIN_SECONDS", 60),
        heartbeat_after=reader.seconds("HEARTBEAT_AFTER", 10),
        connect_seconds=reader.seconds("CONNECT", 5),
        first_byte_seconds=reader.seconds("FIRST_BYTE", 300),
        between_bytes_seconds=reader.seconds("BETWEEN_BYTES", 120),
        total_seconds=reader.seconds("TOTAL", 3600),
        max_body=reader.whole("MAX_BODY", 32 * 1024 * 1024),
        spool_sync="full" if reader.choice("SPOOL_SYNC", ("normal", "full")) == "full" else "normal",
        spool_rotate_seconds=reader.seconds("SPOOL_ROTATE", 2),
        retention_log_months=reader.whole("RETENTION_LOG", 25),
        retention_audit_months=reader.whole("RETENTION_AUDIT", 24),
        local_model=reader.text("LOCAL_MODEL"),
        cors_origins=reader.words("CORS_ORIGINS"),
        image_hosts=tuple(host.lower() for host in reader.words("IMAGE_HOSTS")),
        webhook_hosts=tuple(host.lower() for host in reader.words("WEBHOOK_HOSTS")),
        insecure_http=reader.flag("INSECURE_HTTP"),
    )
    _check_transport(found)
    _check_proxies(found)
    return found


def check_secret(secret: str, *, name: str = "SECRET_KEY") -> str:
    """The secret itself when it can be trusted. Raises BadSetting for a missing, short or known one."""
    if not secret:
        raise BadSetting(f"{name} is not set. Give it {SECRET_KEY_LENGTH} or more random characters.")
    if len(secret) < SECRET_KEY_LENGTH:
        raise BadSetting(f"{name} is too short: it needs {SECRET_KEY_LENGTH} or more random characters.")
    if len(set(secret)) < 8 or any(secret.lower().startswith(known) for known in KNOWN_SECRETS):
        raise BadSetting(f"{name} is a known or guessable value. Give it random characters.")
    return secret


def kept_secret_file(data: Path) -> Path:
    return data / "secret_key"


def keep_secret(data: Path) -> str:
    """The installation's own secret, made once with mode 0600 in the data folder."""
    path = kept_secret_file(data)
    make_data_folder(data)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return kept_secret(data)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    return kept_secret(data)


def kept_secret(data: Path) -> str:
    """The secret that `start` has kept, or an empty string."""
    try:
        return kept_secret_file(data).read_text().strip()
    except FileNotFoundError:
        return ""


def make_data_folder(data: Path) -> None:
    """Root's can be passed through, though not listed: the account that PostgreSQL then runs as lives below it."""
    if not data.is_dir():
        data.mkdir(parents=True, exist_ok=True)
        data.chmod(0o711 if os.geteuid() == 0 else 0o700)


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_transport(found: Environment) -> None:
    url = urlsplit(found.base_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise BadSetting(f"BASE_URL must be a full address such as https://llm.example.org, not {found.base_url!r}.")
    if url.scheme == "http" and not is_loopback(url.hostname) and not found.insecure_http:
        raise BadSetting(
            f"BASE_URL is {found.base_url}: plain http is for this machine alone. "
            "Use https, or set INSECURE_HTTP=1 if a wire nobody else can read is all there is."
        )
    if found.debug and not is_loopback(url.hostname):
        raise BadSetting(f"DEBUG is for this machine alone, and BASE_URL is {found.base_url}: unset one of them.")


def mailer(url: str) -> dict[str, object]:
    """Django's MAILERS entry for EMAIL_URL; without one, mail is written to the terminal."""
    if not url:
        return {"BACKEND": "console.terminal_mail.EmailBackend"}
    try:
        found = environ.Env.email_url_config(url)
    except (KeyError, ValueError) as error:
        raise BadSetting("EMAIL_URL must look like smtp+tls://user:password@mail.example.org:587.") from error
    options = {
        "host": found["EMAIL_HOST"],
        "port": found["EMAIL_PORT"] or 25,
        "username": found["EMAIL_HOST_USER"] or "",
        "password": found["EMAIL_HOST_PASSWORD"] or "",
        "use_tls": found.get("EMAIL_USE_TLS", False),
        "use_ssl": found.get("EMAIL_USE_SSL", False),
        "timeout": MAIL_SECONDS,
    }
    return {"BACKEND": found["EMAIL_BACKEND"], "OPTIONS": options if "smtp" in found["EMAIL_BACKEND"] else {}}


def _check_proxies(found: Environment) -> None:
    for network in found.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise BadSetting(f"TRUSTED_PROXIES must hold addresses or networks, not {network!r}.") from error


def _with_dotenv(given: Mapping[str, str]) -> Mapping[str, str]:
    path = ROOT / ".env"
    if not path.is_file():
        return given
    below: dict[str, str] = {}
    reader = environ.Env()
    reader.ENVIRON = below  # type: ignore[assignment]  # its own documented way
    reader.read_env(path)
    return {**below, **given}


class _Reader:
    """Typed values out of a mapping, with an error that names the variable."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def text(self, name: str, default: str = "") -> str:
        path = self._given.get(f"{name}_FILE")
        if path is None:
            return self._given.get(name, "").strip() or default
        if name in self._given:
            raise BadSetting(f"{name} and {name}_FILE are both set; keep one.")
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"{name}_FILE names a file that cannot be read: {path} ({error}).") from error
        return (lines[0].strip() if lines else "") or default

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word for word in (part.strip() for part in self.text(name).split(",")) if word)

    def flag(self, name: str) -> bool:
        value = self.text(name).lower()
        if value in {"", "0", "false", "no", "off"}:
            return False
        if value in {"1", "true", "yes", "on"}:
            return True
        raise BadSetting(f"{name} must be 1 or 0, not {value!r}.")

    def whole(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if not (value.isascii() and value.isdigit()):
            raise BadSetting(f"{name} must be a whole number, not {value!r}.")
        return int(value)

    def seconds(self, name: str, default: float) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 < number < 1_000_000:
            raise BadSetting(f"{name} must be a number of seconds, not {value!r}.")
        return number

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, choices[0])
        if value not in choices:
            raise BadSetting(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
        return value
