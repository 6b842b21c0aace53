from django.urls import path

from chat import views

app_name = "chat"

urlpatterns = [
    path("chat/", views.home, name="home"),
    path("chat/<uuid:pk>/", views.conversation, name="conversation"),
    path("chat/<uuid:pk>/stop/", views.stop, name="stop"),
    path("chat/<uuid:pk>/again/", views.again, name="again"),
    path("chat/<uuid:pk>/rename/", views.rename, name="rename"),
    path("chat/<uuid:pk>/delete/", views.delete, name="delete"),
    path("chat/<uuid:pk>/answers/<int:answer>/", views.source, name="source"),
]
