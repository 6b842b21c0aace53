"""What can go wrong in the chat.

ChatError
├── Busy          the conversation is being answered; `code` busy
├── Empty         there was nothing to ask; `code` empty
├── TooLong       the question is longer than a question may be; `code` too_long
└── NoModel       the team may not use the model, or there is none; `code` no_model
"""

from typing import ClassVar


class ChatError(Exception):
    """The root of this room's errors. `code` is stable; the sentence is made where it is shown."""

    code: ClassVar[str] = "error"


class Busy(ChatError):
    code = "busy"


class Empty(ChatError):
    code = "empty"


class TooLong(ChatError):
    code = "too_long"


class NoModel(ChatError):
    code = "no_model"
