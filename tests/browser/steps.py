"""What people do in the console, for the tests that walk through it."""

from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from accounts.models import User
from tests.factories import PASSWORD
from tests.server import LiveServer


def let_in(page: Page, user: User, server: LiveServer) -> None:
    """Give the browser a session of the user's, without the form."""
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": server.url}])


def sign_in(page: Page, email: str) -> None:
    """By the form, at a server that hashes passwords as the product does."""
    page.goto("/account/login/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_label("Account of")).to_be_visible()


def create_key(page: Page, name: str) -> str:
    """From the list of keys to the page that shows the secret once; the secret."""
    page.get_by_role("link", name="Create key").first.click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", name="Store this key now")).to_be_visible()
    return page.locator("#secret").inner_text()
