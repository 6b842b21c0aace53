"""Template tags for the look: icons, the current place, and form controls."""

from collections.abc import Mapping
from functools import lru_cache

from django import forms, template
from django.forms.boundfield import BoundField
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# What a browser calls itself holds the names of those it is kin to: the first that fits is its own.
BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
UNDRESSED = (forms.CheckboxInput, forms.RadioSelect, forms.CheckboxSelectMultiple, forms.HiddenInput)


@register.simple_tag
@lru_cache(maxsize=512)  # a page has fifty, and each would look up where the file is
def icon(name: str, extra: str = "") -> SafeString:
    """A symbol of `static/icons.svg`. It decorates: the words beside it, or the control's label, carry the meaning."""
    return format_html(
        '<svg class="{}" aria-hidden="true" focusable="false"><use href="{}#i-{}"></use></svg>',
        f"i {extra}".rstrip(),
        static("icons.svg"),
        name,
    )


@register.simple_tag(takes_context=True)
def current(context: Mapping[str, object], *views: str) -> SafeString:
    """` aria-current="page"` when the request is for one of these views; `chat:` stands for all of a room."""
    match = getattr(context.get("request"), "resolver_match", None)
    here = match.view_name if match else ""
    at_home = any(here == view or (view.endswith(":") and here.startswith(view)) for view in views)
    return mark_safe(' aria-current="page"') if at_home else SafeString()


@register.filter
def control(field: BoundField) -> SafeString:
    """The field's widget in our dress; `aria-describedby` and `aria-invalid` come from Django."""
    widget = field.field.widget
    if isinstance(widget, UNDRESSED):
        return field.as_widget()
    if widget.attrs.get("placeholder") == str(field.label):
        del widget.attrs["placeholder"]  # allauth's, which say the label again
    dress = "select" if isinstance(widget, forms.Select) else "input"
    return field.as_widget(attrs={"class": f"{dress} {widget.attrs.get('class', '')}".rstrip()})


@register.filter
def is_checkbox(field: BoundField) -> bool:
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def browser(user_agent: str) -> str:
    """“Firefox, Linux” out of the line that browsers send; the line itself, cut, when it names none we know."""
    known = [next((word for mark, word in names.items() if mark in user_agent), "") for names in (BROWSERS, SYSTEMS)]
    return ", ".join(filter(None, known)) or user_agent[:60]
