"""Django's settings, all of them drawn from the environment (`console.env`)."""

import ipaddress
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.utils.csp import CSP
from django.utils.translation import gettext_lazy as _

from console import env, postgres
from console.errors import BadSetting

ENVIRONMENT = env.read()
BASE_DIR: Path = env.ROOT
DATA: Path = ENVIRONMENT.data
DEBUG = ENVIRONMENT.debug
BASE_URL = ENVIRONMENT.base_url
SECURE_TRANSPORT = BASE_URL.startswith("https://")

# `manage.py serve` and a bare ASGI server face the world: they take nothing but a secret that was given to them.
if DEBUG and sys.argv[1:2] == ["serve"]:
    raise BadSetting("DEBUG is set: `serve` faces the world, and error pages would tell it everything.")
_kept_secret_allowed = Path(sys.argv[0]).name == "manage.py" and sys.argv[1:2] != ["serve"]
SECRET_KEY = env.check_secret(
    ENVIRONMENT.secret_key
    or (env.kept_secret(DATA) if _kept_secret_allowed else "")
    or (env.keep_secret(DATA) if sys.argv[1:2] == ["start"] else "")
)
SECRET_KEY_FALLBACKS = [env.check_secret(key, name="SECRET_KEY_FALLBACKS") for key in ENVIRONMENT.secret_key_fallbacks]

_base_host = urlsplit(BASE_URL).hostname or "localhost"
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts) or [_base_host]
if env.is_loopback(_base_host):
    ALLOWED_HOSTS += ["localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = [BASE_URL]

INSTALLED_APPS = [
    "daphne",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",  # so that our templates dress Django's fields
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "channels",
    "django_htmx",
    "accounts",
    "billing",
    "gateway",
    "chat",
    "console",
]

MIDDLEWARE = [
    "console.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    # In production the files are served beside Django (console.asgi).
    *(["servestatic.middleware.ServeStaticMiddleware"] if DEBUG else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "console.middleware.preferences",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.session_activity",
    "django_htmx.middleware.HtmxMiddleware",
    "console.middleware.private_pages",
]

ROOT_URLCONF = "console.urls"
ASGI_APPLICATION = "console.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context.shell",
            ],
            "builtins": ["console.templatetags.looks"],
        },
    }
]

# PostgreSQL: the embedded server over its socket, or the server that DATABASE_URL names.
_database: dict[str, Any] = (
    environ.Env().db_url_config(ENVIRONMENT.database_url)
    if ENVIRONMENT.database_url
    else {
        "NAME": "tertulia",
        "USER": "tertulia",
        "HOST": str(postgres.socket_folder(DATA)),
    }
)
DATABASES = {
    "default": {
        **_database,
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**_database.get("OPTIONS", {}), "pool": {"min_size": 2, "max_size": 16, "timeout": 5}},
    }
}
EMBEDDED_POSTGRES = not ENVIRONMENT.database_url

# What must be known to all web processes for minutes: how often somebody failed to sign in, which codes were used.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "console_cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},  # then those that are over are removed
    }
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Accounts
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_REDIRECT_URL = "/"
LOGIN_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CHANGE_EMAIL = True  # one address each; a new one takes the old one's place once it is confirmed
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
MFA_ADAPTER = "accounts.adapter.MFAAdapter"
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = env.is_loopback(_base_host)
USERSESSIONS_ADAPTER = "accounts.adapter.UserSessionsAdapter"
USERSESSIONS_TRACK_ACTIVITY = True

# Sessions, cookies, transport
SESSION_COOKIE_NAME = "__Host-session" if SECURE_TRANSPORT else "session"
SESSION_COOKIE_SECURE = SECURE_TRANSPORT
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE_TRANSPORT else "csrf"
CSRF_COOKIE_SECURE = SECURE_TRANSPORT
CSRF_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SECURE = SECURE_TRANSPORT
LANGUAGE_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_TRANSPORT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_TRANSPORT
SECURE_HSTS_PRELOAD = SECURE_TRANSPORT
SECURE_SSL_REDIRECT = False  # a redirect would let a key cross in clear first; the proxy refuses plain http
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # that redirect, see above
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
    "manifest-src": [CSP.SELF],
}

TRUSTED_NETWORKS = [ipaddress.ip_network(network, strict=False) for network in ENVIRONMENT.trusted_proxies]

# Words and numbers
LANGUAGE_CODE = ENVIRONMENT.language
LANGUAGES = [("en", "English"), ("es", "Español"), ("fr", "Français")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "console.formats"
LANGUAGE_COOKIE_NAME = "language"
TIME_ZONE = ENVIRONMENT.time_zone
USE_TZ = True
USE_I18N = True
USE_THOUSAND_SEPARATOR = True

# Files
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA / "static"
STORAGES = {"staticfiles": {"BACKEND": "console.static.ModuleManifestStorage"}}
SERVESTATIC_ALLOW_ALL_ORIGINS = False

# Mail
MAILERS = {"default": env.mailer(ENVIRONMENT.email_url)}
DEFAULT_FROM_EMAIL = ENVIRONMENT.email_from

DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
LOGGING_CONFIG = "console.logs.configure"
LOGGING = {"level": "INFO"}
PRODUCT_NAME = _("Tertulia")
