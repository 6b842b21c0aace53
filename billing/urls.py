from django.urls import path

from billing.budgets import views as budget_views
from billing.limits import views as limit_views
from billing.prices import views as price_views
from billing.usage import log_views, month_views, request_views, views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_csv, name="usage-csv"),
    path("t/<slug:slug>/usage/log/", log_views.log_page, name="log"),
    path("t/<slug:slug>/usage/log.csv", log_views.log_csv, name="log-csv"),
    path("t/<slug:slug>/usage/log.ndjson", log_views.log_ndjson, name="log-ndjson"),
    path("t/<slug:slug>/usage/log/<uuid:pk>/", request_views.of_team, name="log-request"),
    path("t/<slug:slug>/months/", month_views.months, name="months"),
    path("t/<slug:slug>/months/<int:year>-<int:number>/", month_views.month, name="month"),
    path("t/<slug:slug>/months/<int:year>-<int:number>.csv", month_views.month_csv, name="month-csv"),
    path("t/<slug:slug>/months/<int:year>-<int:number>/close/", month_views.close, name="close-month"),
    path("t/<slug:slug>/months/<int:year>-<int:number>/reopen/", month_views.reopen, name="reopen-month"),
    path("t/<slug:slug>/usage/week/", views.team_week, name="team-week"),
    path("t/<slug:slug>/budget/", budget_views.budget_page, name="budget"),
    path("t/<slug:slug>/budget/card/", budget_views.budget_card, name="budget-card"),
    path("t/<slug:slug>/budget/<int:pk>/remove/", budget_views.remove, name="remove-budget"),
    path("operator/credit/", budget_views.credits_page, name="credits"),
    path("operator/credit/<slug:credited>/", budget_views.credit_page, name="credit"),
    path("operator/credit/<slug:credited>/binding/", budget_views.credit_binding, name="credit-binding"),
    path("t/<slug:slug>/limits/", limit_views.limits, name="limits"),
    path("t/<slug:slug>/limits/keys/<int:pk>/", limit_views.key_limits, name="key-limits"),
    path("t/<slug:slug>/limits/members/<int:pk>/", limit_views.member_limits, name="member-limits"),
    path("operator/tiers/", limit_views.tiers, name="tiers"),
    path("operator/tiers/load/", limit_views.load, name="load-tiers"),
    path("operator/tiers/<int:pk>/", limit_views.tier, name="tier"),
    path("operator/tiers/<int:pk>/teams/", limit_views.give, name="give-tier"),
    path("operator/tiers/<int:pk>/remove/", limit_views.remove, name="remove-tier"),
    path("usage/keys/<int:pk>/", views.key_usage, name="key-usage"),
    path("operator/prices/", price_views.prices, name="prices"),
    path("operator/prices/add/", price_views.add, name="add-price"),
    path("operator/prices/import/", price_views.take_in, name="import-prices"),
    path("operator/prices/<int:pk>/", price_views.price, name="price"),
    path("operator/prices/<int:pk>/remove/", price_views.remove, name="remove-price"),
    path("operator/requests/", request_views.find, name="find-request"),
    path("operator/requests/<uuid:pk>/", request_views.one, name="request"),
    path("operator/prices.csv", price_views.export, name="prices-csv"),
]
