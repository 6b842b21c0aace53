"""Where the monitor's socket is. The roof puts it before the chat's, which takes every other address."""

from django.urls import path

from gateway.monitor.consumers import MonitorConsumer

websocket_urlpatterns = [path("ws/monitor/", MonitorConsumer.as_asgi())]
