"""The ASGI application: /v1 beside Django, pages through Django, sockets, and the process's own life.

`manage.py start` and `serve` run it on daphne (console.serving); `uvicorn console.asgi:application` runs it too.
"""

import os
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from servestatic import ServeStaticASGI

pages = get_asgi_application()  # first: it sets Django up, which the imports below need

from chat.routing import websocket_urlpatterns as chat_sockets  # noqa: E402
from console.doors import Application, Doors, static_headers  # noqa: E402
from console.lifespan import lifespan  # noqa: E402
from console.origins import OwnPages  # noqa: E402
from gateway.api import application as api  # noqa: E402
from gateway.monitor.sockets import websocket_urlpatterns as monitor_sockets  # noqa: E402

with_files = ServeStaticASGI(
    pages,
    root=settings.STATIC_ROOT,
    prefix=settings.STATIC_URL,
    allow_all_origins=False,
    add_headers_function=static_headers,
)

application = ProtocolTypeRouter(
    {
        "http": Doors(api=api, pages=cast("Application", with_files)),
        "websocket": OwnPages(AuthMiddlewareStack(URLRouter([*monitor_sockets, *chat_sockets]))),
        "lifespan": lifespan,
    }
)
