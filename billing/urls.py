from django.urls import path

from billing import price_views, request_views, views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_csv, name="usage-csv"),
    path("t/<slug:slug>/usage/week/", views.team_week, name="team-week"),
    path("usage/keys/<int:pk>/", views.key_usage, name="key-usage"),
    path("operator/prices/", price_views.prices, name="prices"),
    path("operator/prices/add/", price_views.add, name="add-price"),
    path("operator/prices/import/", price_views.take_in, name="import-prices"),
    path("operator/prices/<int:pk>/", price_views.price, name="price"),
    path("operator/prices/<int:pk>/remove/", price_views.remove, name="remove-price"),
    path("operator/usage/", request_views.find, name="find-request"),
    path("operator/usage/<uuid:pk>/", request_views.one, name="request"),
    path("operator/prices.csv", price_views.export, name="prices-csv"),
]
