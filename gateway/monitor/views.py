from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.access import require_operator
from gateway.monitor.board import look_now
from gateway.monitor.captions import words
from gateway.monitor.pulse import say_watched
from gateway.monitor.screen import TEMPLATE, context


@require_GET
def monitor(request: HttpRequest) -> HttpResponse:
    """As it is now. With script, the socket goes on from here; without, whoever reads it loads it again."""
    require_operator(request.user)
    say_watched()
    return render(request, TEMPLATE, context(words(look_now())))
