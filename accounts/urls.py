from django.urls import path

from accounts import admin_key_views, views

app_name = "accounts"

urlpatterns = [
    path("first/<str:token>/", views.first_sign_in, name="first-sign-in"),
    path("preferences/", views.preferences, name="preferences"),
    path("account/profile/", views.profile, name="profile"),
    path("t/<slug:slug>/keys/", views.keys, name="keys"),
    path("t/<slug:slug>/keys/<int:pk>/revoke/", views.revoke, name="revoke-key"),
    path("t/<slug:slug>/keys/<int:pk>/first-use/", views.first_use, name="key-first-use"),
    path("t/<slug:slug>/admin-keys/", admin_key_views.of_team, name="admin-keys"),
    path("t/<slug:slug>/admin-keys/<int:pk>/revoke/", admin_key_views.revoke, name="revoke-admin-key"),
    path("operator/admin-keys/", admin_key_views.of_platform, name="platform-keys"),
    path("operator/admin-keys/<int:pk>/revoke/", admin_key_views.revoke_of_platform, name="revoke-platform-key"),
]
