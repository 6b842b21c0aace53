from django.urls import URLPattern, URLResolver, include, path

from console import views

console_urls = (
    [
        path("", views.home, name="home"),
        path("quickstart/", views.quickstart, name="quickstart"),
        path("t/<slug:slug>/", views.team_home, name="team-home"),
        path("t/<slug:slug>/settings/", views.team_settings, name="team-settings"),
        path("t/<slug:slug>/keys/new/", views.new_key, name="new-key"),
    ],
    "console",
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(console_urls)),
    path("", include("accounts.urls")),
    path("", include("billing.urls")),
    path("", include("gateway.urls")),
    path("", include("chat.urls")),
    path("account/", include("allauth.urls")),
]

handler500 = "console.trouble.server_error"
