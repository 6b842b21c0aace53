"""How many calls were not admitted, as the usage page's question asks for them."""

from django.db.models import Sum

from billing.usage.questions import Question, refusals


def of_answers_alone(question: Question) -> bool:
    """Whether the question filters by what refused calls do not have: a model that answered, or an outcome."""
    return bool(question.filters.models or question.filters.outcomes)


def refused(question: Question) -> int | None:
    """None where they cannot be told apart as the question does."""
    if of_answers_alone(question):
        return None
    return int(refusals(question).aggregate(number=Sum("count"))["number"] or 0)
