from django.urls import path

from accounts import views

app_name = "accounts"

urlpatterns = [
    path("first/<str:token>/", views.first_sign_in, name="first-sign-in"),
    path("preferences/", views.preferences, name="preferences"),
    path("account/profile/", views.profile, name="profile"),
    path("t/<slug:slug>/keys/", views.keys, name="keys"),
    path("t/<slug:slug>/keys/<int:pk>/revoke/", views.revoke, name="revoke-key"),
    path("t/<slug:slug>/keys/<int:pk>/first-use/", views.first_use, name="key-first-use"),
]
