"""How many calls were not admitted, as the usage page's question asks for them."""

from django.db.models import Sum

from billing.usage.questions import Question, refusals


def refused(question: Question) -> int | None:
    """None where the question filters by what they do not have: a model that answered, or an outcome."""
    if question.filters.models or question.filters.outcomes:
        return None
    return int(refusals(question).aggregate(number=Sum("count"))["number"] or 0)
