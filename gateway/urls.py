from django.urls import path

from gateway import views
from gateway.availability import views as availability_views
from gateway.monitor import views as monitor_views
from gateway.reconciliation import views as reconciliation_views
from gateway.use import views as use_views

app_name = "gateway"

urlpatterns = [
    path("t/<slug:slug>/models/", views.models, name="models"),
    path("status/", availability_views.status, name="status"),
    path("status.json", availability_views.status_json, name="status-json"),
    path("t/<slug:slug>/models/use/", use_views.team, name="team-in-use"),
    path("reference/", views.reference, name="reference"),
    path("reference/try/", views.try_api, name="try"),
    path("operator/engines/", views.engines, name="engines"),
    path("operator/engines/add/", views.add, name="add-engine"),
    path("operator/engines/<int:pk>/", views.engine, name="engine"),
    path("operator/models/use/", use_views.platform, name="in-use"),
    path("operator/models/unpriced/", views.unpriced, name="unpriced"),
    path("operator/models/<int:pk>/", views.model, name="model"),
    path("operator/models/<int:pk>/lifecycle/", views.lifecycle, name="model-lifecycle"),
    path("operator/engines/<int:pk>/import/", views.import_again, name="import-models"),
    path("operator/engines/<int:pk>/enabled/", views.enabled, name="engine-enabled"),
    path("operator/engines/<int:pk>/remove/", views.remove, name="remove-engine"),
    path("operator/monitor/", monitor_views.monitor, name="monitor"),
    path("operator/reconciliation/", reconciliation_views.reconciliation, name="reconciliation"),
    path("operator/reconciliation.csv", reconciliation_views.reconciliation_csv, name="reconciliation-csv"),
]
