"""Mail of an installation without EMAIL_URL: it is read in the terminal, and its links are followed from there."""

import re

import pytest
from django.conf import LazySettings
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from accounts.models import User
from console import env


@pytest.fixture(autouse=True)
def terminal(settings: LazySettings) -> None:
    settings.MAILERS = {"default": env.mailer("")}


def test_the_link_to_a_new_password_works_as_it_stands_in_the_terminal(
    client: Client, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/account/password/reset/", {"email": alice.email})
    link = re.search(r"http://testserver(/\S*reset/key/\S+)", capsys.readouterr().out)
    assert link

    opened = client.get(link.group(1), follow=True)
    assert 'name="password1"' in opened.content.decode()
    chosen = {"password1": "nuthatch 43 river", "password2": "nuthatch 43 river"}
    done = client.post(opened.request["PATH_INFO"], chosen, follow=True).content.decode()
    assert "Your password is now changed." in done
    assert '<a class="btn wide" href="/account/login/">Sign in</a>' in done


def test_of_a_mail_the_text_is_shown_and_what_is_attached_named(capsys: pytest.CaptureFixture[str]) -> None:
    mail = EmailMultiAlternatives(
        "Año: 80 %", "Señal: 80\N{NO-BREAK SPACE}%\n\x1b[2Jlisto", "Tertulia <t@localhost>", ["ana@example.org"]
    )
    mail.attach_alternative("<p>Señal</p>", "text/html")
    mail.attach("red-2026-10.csv", "day,model\n", "text/csv")
    mail.send()

    assert capsys.readouterr().out.splitlines()[1:-1] == [
        "To: ana@example.org",
        "From: Tertulia <t@localhost>",
        "Subject: Año: 80 %",
        "Attached: red-2026-10.csv",
        "",
        "Señal: 80\N{NO-BREAK SPACE}%",
        "\ufffd[2Jlisto",
    ]
