"""Every exception that this package raises, in one tree.

DjangoCfgError
├── ConfigurationError (also a ValueError)      something written down is wrong
│   └── BrokerURLError                          a broker URL that cannot be used
├── TaskError                                   a task could not be accepted
│   ├── TasksDisabled                           TaskConfig(enabled=False)
│   ├── InvalidTaskOption (also a ValueError)   an option of a task or of one send
│   ├── NotSerializable (also a TypeError)      an argument that is not JSON
│   ├── PayloadTooLarge (also a ValueError)     a message above max_payload_bytes
│   ├── AsyncSendError                          .send() where only `await .asend()` can work
│   └── EnqueueUnknown                          the connection broke before the answer: stored or not
├── BrokerError                                 the broker refused or cannot do it
│   ├── BrokerUnreachable                       no answer; try again
│   └── SessionLost                             the broker took this worker's claims away
├── EmailError                                  a mail could not be handed over
│   └── EmailRetryable                          ... for now; a retry may help
└── TelegramError                               the Bot API refused
    ├── TelegramUnauthorized                    the token is wrong (a retry will not help)
    ├── TelegramRateLimited                     too many messages; `retry_after` seconds
    └── TelegramUnreachable                     no answer or a server error; a retry may help
"""

from __future__ import annotations


class DjangoCfgError(Exception):
    """Base of everything below."""


class ConfigurationError(DjangoCfgError, ValueError):
    """Something written down (settings, environment, YAML) is wrong; says where and how to cure it."""


class BrokerURLError(ConfigurationError):
    """A broker URL that cannot be used; the message never shows its password."""


class TaskError(DjangoCfgError):
    """A task could not be accepted."""


class TasksDisabled(TaskError):
    """`TaskConfig(enabled=False)`: nothing is enqueued and nothing is dropped in silence."""


class InvalidTaskOption(TaskError, ValueError):
    """An option of a task, or of one send, that has a wrong name, type or range."""


class NotSerializable(TaskError, TypeError):
    """An argument that is not JSON; the message names the argument."""


class PayloadTooLarge(TaskError, ValueError):
    """A message above `max_payload_bytes`."""


class AsyncSendError(TaskError):
    """`.send()` was called in async code on a broker that must block; `await actor.asend(...)` works."""


class EnqueueUnknown(TaskError):
    """The connection broke after the message left and before the answer came: stored or not, nobody knows.

    Sending again under the same `message_id` is safe: an id that still lives is accepted once.
    """


class BrokerError(DjangoCfgError):
    """The broker refused, or cannot do what was asked."""


class BrokerUnreachable(BrokerError):
    """The broker does not answer; the same call may go through later."""


class SessionLost(BrokerError):
    """The broker gave this worker's claims to others, because its lease had ended."""


class EmailError(DjangoCfgError):
    """A mail could not be handed to the mail server."""


class EmailRetryable(EmailError):
    """A mail could not be handed over now; a later attempt may succeed."""


class TelegramError(DjangoCfgError):
    """The Telegram Bot API refused a call; the token is never part of the message."""


class TelegramUnauthorized(TelegramError):
    """The bot token is wrong or revoked; trying again will not help."""


class TelegramRateLimited(TelegramError):
    """Too many messages.

    Attributes:
        retry_after: seconds that Telegram asks to wait.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TelegramUnreachable(TelegramError):
    """No answer in time, or a server error; a later attempt may succeed."""
