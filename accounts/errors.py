"""What can go wrong with accounts.

AccountsError
├── InvalidKey        the key is malformed, unknown, revoked or expired (`reason` says which, for the log alone)
├── NotAllowed        the person may see the thing, but not do this with it
├── AlreadyIssued     the form that asks for a key has made one before (`key_id`)
├── LastOwner         a team must keep one owner
└── UnreadableSecret  a stored secret was encrypted with a key that is gone
"""

from typing import Literal

type KeyProblem = Literal["absent", "malformed", "unknown", "revoked", "expired"]


class AccountsError(Exception):
    """The root of this room's errors."""


class InvalidKey(AccountsError):
    """Callers are told one thing; only the log learns the `reason`."""

    def __init__(self, reason: KeyProblem) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAllowed(AccountsError):
    pass


class AlreadyIssued(AccountsError):
    """The secret was shown then, and is stored nowhere."""

    def __init__(self, key_id: int) -> None:
        super().__init__(key_id)
        self.key_id = key_id


class LastOwner(AccountsError):
    pass


class UnreadableSecret(AccountsError):
    pass
