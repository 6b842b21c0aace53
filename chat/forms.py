"""What the chat's forms post when they do not go over the socket."""

import uuid

from django import forms
from django.utils.translation import gettext_lazy as _

from chat.conversations import TITLE_LENGTH, Question


class WordsField(forms.CharField):
    """Text that is kept whatever it holds; PostgreSQL cannot store NUL."""

    def to_python(self, value: object) -> str:
        return str(super().to_python(value) or "").replace("\x00", "\ufffd")


class QuestionForm(forms.Form):
    """The composer. What is wrong with a question is said by the verb, in the page's own words."""

    text = WordsField(required=False, strip=False)
    model = forms.CharField(required=False, max_length=200)
    client_id = forms.UUIDField(required=False)

    def question(self) -> Question:
        return Question(
            text=self.cleaned_data["text"],
            model=self.cleaned_data["model"],
            client_id=self.cleaned_data["client_id"] or uuid.uuid4(),
        )


class TitleForm(forms.Form):
    title = forms.CharField(label=_("Name"), max_length=TITLE_LENGTH)
