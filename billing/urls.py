from django.urls import path

from billing.alerts import views as alert_views
from billing.budgets import views as budget_views
from billing.limits import views as limit_views
from billing.prices import views as price_views
from billing.usage import request_views, views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_csv, name="usage-csv"),
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
    path("operator/usage/", request_views.find, name="find-request"),
    path("operator/usage/<uuid:pk>/", request_views.one, name="request"),
    path("operator/prices.csv", price_views.export, name="prices-csv"),
    path("t/<slug:slug>/alerts/", alert_views.alerts_page, name="alerts"),
    path("t/<slug:slug>/alerts/sent/", alert_views.sent, name="alerts-sent"),
    path("t/<slug:slug>/alerts/watch/", alert_views.watch, name="alerts-watch"),
    path("t/<slug:slug>/alerts/people/", alert_views.people, name="alerts-people"),
    path("t/<slug:slug>/alerts/mine/", alert_views.mine, name="alerts-mine"),
    path("t/<slug:slug>/alerts/webhooks/", alert_views.add, name="add-webhook"),
    path("t/<slug:slug>/alerts/webhooks/<int:pk>/", alert_views.webhook, name="webhook"),
    path("t/<slug:slug>/alerts/<uuid:alert>/away/", alert_views.put_away, name="put-alert-away"),
    path("operator/alerts/", alert_views.platform_page, name="platform-alerts"),
    path("operator/alerts/sent/", alert_views.platform_sent, name="platform-alerts-sent"),
    path("operator/alerts/mine/", alert_views.platform_mine, name="platform-alerts-mine"),
    path("operator/alerts/webhooks/", alert_views.platform_add, name="add-platform-webhook"),
    path("operator/alerts/webhooks/<int:pk>/", alert_views.platform_webhook, name="platform-webhook"),
    path("operator/alerts/<uuid:alert>/away/", alert_views.platform_put_away, name="put-platform-alert-away"),
    path("mail/stop/<str:token>/", alert_views.stop_mail, name="stop-mail"),
]
