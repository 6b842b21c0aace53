"""What people do in the console, for the tests that walk through it."""

from playwright.sync_api import Page, expect

from tests.factories import PASSWORD


def sign_in(page: Page, email: str) -> None:
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
