from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_csv, name="usage-csv"),
    path("t/<slug:slug>/usage/week/", views.team_week, name="team-week"),
    path("usage/keys/<int:pk>/", views.key_usage, name="key-usage"),
]
