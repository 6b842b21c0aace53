from django.urls import path

from billing.alerts import views as alert_views
from billing.budgets import views as budget_views
from billing.limits import views as limit_views
from billing.log import request_views
from billing.log import views as log_views
from billing.months import views as month_views
from billing.prices import views as price_views
from billing.usage import views
from billing.usage.sections import views as section_views

app_name = "billing"
urlpatterns = [
    path("t/<slug:slug>/usage/", views.usage_page, name="usage"),
    path("t/<slug:slug>/usage.csv", views.usage_file, {"form": "csv"}, name="usage-csv"),
    path("t/<slug:slug>/usage.json", views.usage_file, {"form": "json"}, name="usage-json"),
    path("t/<slug:slug>/usage.xlsx", views.usage_file, {"form": "xlsx"}, name="usage-xlsx"),
    path("t/<slug:slug>/usage/hours/", section_views.hours, name="usage-hours"),
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
    path("t/<slug:slug>/keys/<int:pk>/usage/", views.key_report, name="key-report"),
    path("t/<slug:slug>/keys/<int:pk>/usage.<slug:form>", views.key_report_file, name="key-report-file"),
    path("usage/me/", views.my_usage, name="my-usage"),
    path("usage/me.<slug:form>", views.my_usage_file, name="my-usage-file"),
    path("usage/keys/<int:pk>/", views.key_usage, name="key-usage"),
    path("operator/prices/", price_views.prices, name="prices"),
    path("operator/prices/add/", price_views.add, name="add-price"),
    path("operator/prices/import/", price_views.take_in, name="import-prices"),
    path("operator/prices/<int:pk>/", price_views.price, name="price"),
    path("operator/prices/<int:pk>/remove/", price_views.remove, name="remove-price"),
    path("operator/usage/", views.platform_usage, name="platform-usage"),
    path("operator/usage.<slug:form>", views.platform_usage_file, name="platform-usage-file"),
    path("operator/requests/", request_views.find, name="find-request"),
    path("operator/requests/<uuid:pk>/", request_views.one, name="request"),
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
