"""Signatures of webhooks as the Standard Webhooks scheme has them, so that its libraries verify ours.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

PREFIX = "whsec_"
LENGTH = 32  # bytes of a secret


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(LENGTH)).decode()


def headers(*, message_id: str, at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """`message_id` stays the same when a message is sent again; the time and so the signature do not."""
    moment = str(int(at.timestamp()))
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{signature(message_id, moment, body, secret)}",
    }


def signature(message_id: str, moment: str, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b".".join((message_id.encode(), moment.encode(), body))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
