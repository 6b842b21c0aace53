from django.urls import path

from billing import limit_views, views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_csv, name="usage-csv"),
    path("t/<slug:slug>/usage/week/", views.team_week, name="team-week"),
    path("t/<slug:slug>/limits/", limit_views.limits, name="limits"),
    path("t/<slug:slug>/limits/keys/<int:pk>/", limit_views.key_limits, name="key-limits"),
    path("t/<slug:slug>/limits/members/<int:pk>/", limit_views.member_limits, name="member-limits"),
    path("operator/tiers/", limit_views.tiers, name="tiers"),
    path("operator/tiers/load/", limit_views.load, name="load-tiers"),
    path("operator/tiers/<int:pk>/", limit_views.tier, name="tier"),
    path("operator/tiers/<int:pk>/teams/", limit_views.give, name="give-tier"),
    path("operator/tiers/<int:pk>/remove/", limit_views.remove, name="remove-tier"),
    path("usage/keys/<int:pk>/", views.key_usage, name="key-usage"),
]
