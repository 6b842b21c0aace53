"""My account, and the language and theme of people and of visitors who have not signed in."""

from dataclasses import replace

import pytest
from django.conf import LazySettings
from django.core.cache.backends.locmem import LocMemCache
from django.test import Client

from accounts.models import Team, User
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def test_a_visitor_keeps_language_and_theme_without_signing_in(client: Client) -> None:
    chosen = client.post("/preferences/", {"language": "es", "next": "/account/login/"})
    client.post("/preferences/", {"theme": "dark"})
    page = client.get("/account/login/").content.decode()

    assert (chosen.status_code, chosen.headers["location"]) == (302, "/account/login/")
    assert '<html lang="es" data-theme="dark">' in page


def test_a_cookie_that_names_no_theme_chooses_none(client: Client) -> None:
    client.cookies["theme"] = "sepia"

    assert '<html lang="en">' in client.get("/account/login/").content.decode()


def test_a_persons_choice_is_kept_with_the_person_and_stands_over_the_cookie(client: Client, alice: User) -> None:
    client.force_login(alice)
    client.post("/preferences/", {"language": "fr", "theme": "light"})
    client.cookies["theme"] = "dark"
    page = client.get("/account/profile/").content.decode()

    alice.refresh_from_db()
    assert (alice.language, alice.theme) == ("fr", "light")
    assert '<html lang="fr" data-theme="light">' in page


def test_the_profile_names_the_teams_and_saves_the_name(client: Client, alice: User, red: Team) -> None:
    client.force_login(alice)
    page = client.get("/account/profile/").content.decode()
    saved = client.post("/account/profile/", {"name": " Alice Ferrer "})

    assert red.name in page
    assert "owner" in page
    assert saved.status_code == 302
    alice.refresh_from_db()
    assert alice.name == "Alice Ferrer"


def test_a_name_that_is_too_long_is_refused_and_stays_in_the_form(client: Client, alice: User) -> None:
    client.force_login(alice)
    answer = client.post("/account/profile/", {"name": "x" * 151})

    assert answer.status_code == 422
    assert "x" * 151 in answer.content.decode()


@pytest.mark.parametrize("path", ["email", "password/change", "2fa", "sessions", "logout"])
def test_each_page_of_the_account_opens(client: Client, alice: User, path: str) -> None:
    client.force_login(alice)
    answer = client.get(f"/account/{path}/")

    assert answer.status_code == 200
    assert " style=" not in answer.content.decode()


def test_a_new_address_waits_for_its_confirmation(client: Client, alice: User) -> None:
    client.force_login(alice)
    client.post("/account/email/", {"action_add": "", "email": "alice@new.example"})
    page = client.get("/account/email/").content.decode()

    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
    assert "<b>alice@new.example</b> waits to be confirmed." in page


@pytest.mark.parametrize("path", ["login", "signup", "password/reset", "password/reset/done", "confirm-email"])
def test_each_page_before_the_door_offers_the_languages(client: Client, path: str) -> None:
    assert 'lang="fr"' in client.get(f"/account/{path}/").content.decode()


@pytest.mark.parametrize(("signup", "offered"), [("open", True), ("invite", False)])
def test_the_door_offers_an_account_only_where_anybody_may_make_one(
    client: Client, settings: LazySettings, signup: str, offered: bool
) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, signup=signup)

    assert ("/account/signup/" in client.get("/account/login/").content.decode()) == offered


def test_failed_sign_ins_are_counted_for_all_processes_together(client: Client, alice: User) -> None:
    for _ in range(5):
        client.post("/account/login/", {"login": alice.email, "password": "a guess"})
    LocMemCache("", {}).clear()  # another process, or this one begun anew, has nothing in its memory
    answer = client.post("/account/login/", {"login": alice.email, "password": PASSWORD})

    assert "Too many failed login attempts." in answer.content.decode()
    assert "_auth_user_id" not in client.session
