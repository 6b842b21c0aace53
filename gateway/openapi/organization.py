"""What admin keys read, written down: OpenAI's addresses of an organisation's usage and costs."""

from typing import Any

from django.utils.translation import gettext as _

type Json = dict[str, Any]

ADMIN = "adminKey"  # the way to sign these requests
BUCKETS = {
    "usage/completions": ("7", "31"),
    "usage/embeddings": ("7", "31"),
    "costs": ("7", "180"),
}  # of days: as many as there are unasked, and at most

_BEGIN = 1_795_046_400
_USAGE = {
    "object": "organization.usage.completions.result",
    "input_tokens": 14_350,
    "num_model_requests": 27,
    "output_tokens": 9_696,
    "input_cached_tokens": 2_048,
    "output_reasoning_tokens": None,
    "estimated_tokens": 120,
    "project_id": None,
    "user_id": None,
    "api_key_id": None,
    "model": "granite3.3:8b",
    "batch": None,
    "service_tier": None,
    "api_source": None,
}
_EMBEDDINGS = {
    name: value
    for name, value in _USAGE.items()
    if name not in {"output_tokens", "input_cached_tokens", "output_reasoning_tokens"}
} | {"object": "organization.usage.embeddings.result", "model": "bge-m3", "estimated_tokens": 0}
_COSTS = {
    "object": "organization.costs.result",
    "amount": {"value": 0.0618, "exact": "0.0618", "currency": "eur"},
    "quantity": None,
    "quantity_unit": None,
    "project_id": "red",
    "user_id": None,
    "api_key_id": None,
    "line_item": None,
    "api_source": None,
}


def organization_operations() -> dict[str, tuple[Json, str, Json]]:
    """By address: the operation without its answers, the schema of its answer, and an example of that."""
    return {
        "/v1/organization/usage/completions": (
            _operation(
                "usageCompletions",
                _("Usage of a team or of all"),
                _(
                    "Tokens and requests in even buckets of UTC, grouped as asked. A project is a team, named by its "
                    "address. Calls that made embeddings are in `/v1/organization/usage/embeddings`; together the two "
                    "are all."
                ),
                "usage/completions",
            ),
            "OrganizationUsage",
            _page(_USAGE),
        ),
        "/v1/organization/usage/embeddings": (
            _operation(
                "usageEmbeddings",
                _("Usage for embeddings"),
                _("The same, of the calls that made embeddings."),
                "usage/embeddings",
            ),
            "OrganizationUsage",
            _page(_EMBEDDINGS),
        ),
        "/v1/organization/costs": (
            _operation(
                "usageCosts",
                _("Costs of a team or of all"),
                _(
                    "What it cost, in the installation's currency. A line item is a model and a type of its tokens, "
                    "as in `llama3.3:70b, cached input`; what was corrected in money is of no type, and its item is "
                    "the model alone."
                ),
                "costs",
            ),
            "OrganizationCosts",
            _page(_COSTS),
        ),
    }


def organization_schemas() -> Json:
    groups = {
        "project_id": _null("string", _("The team, where it is grouped by.")),
        "user_id": _null("string", _("The person, where it is grouped by: `user_` and a number.")),
        "api_key_id": _null("string", _("The key, where it is grouped by: `key_` and a number.")),
    }
    usage = {
        "object": {"type": "string"},
        "input_tokens": {"type": "integer", "description": _("Tokens in, cached ones too.")},
        "num_model_requests": {"type": "integer", "description": _("How many calls.")},
        "output_tokens": {"type": "integer", "description": _("Tokens out, reasoning too.")},
        "input_cached_tokens": _null("integer", _("Of the tokens in, cached ones; null where no engine said.")),
        "output_reasoning_tokens": _null("integer", _("Of the tokens out, reasoning; null where no engine said.")),
        "estimated_tokens": {"type": "integer", "description": _("Of all tokens, those that no engine counted.")},
        **groups,
        "model": _null("string", _("The model, where it is grouped by.")),
    }
    amount = {
        "value": _null("number", _("The amount; null where no price was in force.")),
        "exact": _null("string", _("The same with every decimal.")),
        "currency": {"type": "string", "description": _("The currency, in small letters.")},
    }
    costs = {
        "object": {"type": "string"},
        "amount": {"type": "object", "required": list(amount), "properties": amount},
        **groups,
        "line_item": _null("string", _("The model and the type of tokens, where it is grouped by.")),
        "quantity": _null("integer", _("How many tokens the line item has.")),
        "quantity_unit": _null("string", "`tokens`"),
    }
    return {
        "OrganizationUsage": _page_of(usage, required=["object", "input_tokens", "num_model_requests"]),
        "OrganizationCosts": _page_of(costs, required=["object", "amount"]),
    }


def admin_scheme(pattern: str) -> Json:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk-tert-admin-…",
        "x-tertulia-pattern": pattern,
        "description": _(
            "An admin key reads usage and costs, of its team or of all, and calls no model. A team's admins and "
            "operators make them in the console."
        ),
    }


def _operation(name: str, summary: str, text: str, report: str) -> Json:
    default, most = BUCKETS[report]
    costs = report == "costs"
    by = ["project_id", "user_id", "api_key_id", "line_item" if costs else "model"]
    named = (
        ("line_items", _("Of these line items alone, each with its whole name."))
        if costs
        else (
            "models",
            _("Of these models alone."),
        )
    )
    limit = _(
        "How many buckets: %(default)s days unless asked, at most %(most)s. Of hours 24 and 168, of quarters 96 and "
        "672."
    )
    return {
        "operationId": name,
        "summary": summary,
        "description": text,
        "security": [{ADMIN: []}],
        "parameters": [
            _asked(
                "start_time",
                _("From when on, in seconds since 1970. The first bucket is the one that holds it."),
                {"type": "integer", "minimum": 0},
                example=_BEGIN,
            ),
            _asked("end_time", _("Until when, in seconds since 1970; now, if it is left out."), {"type": "integer"}),
            _asked(
                "bucket_width",
                _("How long a bucket is: a day, an hour or a quarter of one."),
                {"type": "string", "enum": ["1d", "1h", "15m"], "default": "1d"},
            ),
            _asked(
                "group_by",
                _("What to tell apart; several of them, each as a parameter of its own or with commas."),
                {"type": "array", "items": {"type": "string", "enum": by}},
            ),
            _asked("limit", limit % {"default": default, "most": most}, {"type": "integer", "minimum": 1}),
            _asked("page", _("What `next_page` of the page before says."), {"type": "string"}),
            _asked("project_ids", _("Of these teams alone."), _texts()),
            _asked("user_ids", _("Of these people alone."), _texts()),
            _asked("api_key_ids", _("Of these keys alone."), _texts()),
            _asked(*named, _texts()),
        ],
    }


def _asked(name: str, text: str, schema: Json, *, example: int | None = None) -> Json:
    found: Json = {"name": name, "in": "query", "required": example is not None, "schema": schema, "description": text}
    return found if example is None else found | {"example": example}


def _texts() -> Json:
    return {"type": "array", "items": {"type": "string"}}


def _null(kind: str, text: str) -> Json:
    return {"type": [kind, "null"], "description": text}


def _page_of(result: Json, *, required: list[str]) -> Json:
    results = {"type": "array", "items": {"type": "object", "required": required, "properties": result}}
    bucket = {
        "object": {"const": "bucket"},
        "start_time": {"type": "integer", "description": _("Where the bucket begins, in seconds since 1970.")},
        "end_time": {"type": "integer", "description": _("Where it ends; that moment is the next one's.")},
        "results": results | {"description": _("One for each group; none where nothing was used.")},
    }
    fields = {
        "object": {"const": "page"},
        "data": {
            "type": "array",
            "items": {"type": "object", "required": list(bucket), "properties": bucket},
            "description": _("The buckets, in order, empty ones too."),
        },
        "has_more": {"type": "boolean", "description": _("Whether there is a page after this one.")},
        "next_page": _null("string", _("What to send as `page` for it.")),
    }
    return {"type": "object", "required": list(fields), "properties": fields}


def _page(result: Json) -> Json:
    bucket = {"object": "bucket", "start_time": _BEGIN, "end_time": _BEGIN + 86_400, "results": [result]}
    return {"object": "page", "data": [bucket], "has_more": True, "next_page": f"page_{_BEGIN + 86_400}"}
