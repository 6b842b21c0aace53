"""Where sockets lead. An address of nobody's is accepted and closed: refusing it would make pages try for ever."""

from typing import Any

from django.urls import path, re_path

from chat.consumers import NOT_YOURS, ChatConsumer

type Scope = dict[str, Any]


async def refuse(scope: Scope, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": NOT_YOURS})


websocket_urlpatterns = [
    path("ws/chat/<uuid:pk>/", ChatConsumer.as_asgi()),
    re_path(r"", refuse),  # type: ignore[arg-type]  # URLRouter calls it as an ASGI application
]
