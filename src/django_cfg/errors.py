"""Every exception that this package raises, in one tree.

DjangoCfgError
├── ConfigurationError (also a ValueError)      something written down is wrong
│   ├── BrokerURLError                          a broker URL that cannot be used
│   └── CronError                               a cron expression, time zone or policy of a schedule
├── TaskError                                   a task could not be accepted, or not be finished
│   ├── TasksDisabled                           TaskConfig(enabled=False)
│   ├── InvalidTaskOption (also a ValueError)   an option of a task or of one send
│   ├── NotSerializable (also a TypeError)      an argument that is not JSON
│   ├── PayloadTooLarge (also a ValueError)     a message above max_payload_bytes
│   ├── AsyncSendError                          .send() where only `await .asend()` can work
│   └── EnqueueUnknown                          the connection broke before the answer: stored or not
├── FilterError (also a ValueError)             a choice of tasks that says nothing clear
│   ├── EnqueueUnknown                          the connection broke before the answer: stored or not
│   ├── TaskFailed                              what `result.get()` raises for a task that failed
│   ├── TaskLost                                in the errors of a task that nobody could run or finish
│   ├── TaskExpired                             ... of one that had not started in time
│   └── TaskCancelled                           ... of one that an operator took away
├── BrokerError                                 the broker refused or cannot do it
│   ├── BrokerUnreachable                       no answer; try again
│   └── SessionLost                             the broker took this worker's claims away
├── EmailError                                  a mail could not be handed over
│   └── EmailRetryable                          ... for now; a retry may help
├── WebhookError                                a webhook was refused or did not take the message
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


class CronError(ConfigurationError):
    """A cron expression, a time zone or a policy of a schedule; names the field and the allowed range."""


class TaskError(DjangoCfgError):
    """A task could not be accepted, or not be finished."""


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


class FilterError(DjangoCfgError, ValueError):
    """A choice of tasks (`state:failed since:2h`) with an unknown name, state or time; says what was expected."""


class TaskFailed(TaskError):
    """A task whose result was asked for has failed.

    Attributes:
        traceback: its last error, as text.
    """

    def __init__(self, path: str, result_id: str, traceback: str = "") -> None:
        last_line = traceback.strip().rpartition("\n")[2]
        super().__init__(f"task {path} {result_id} failed: {last_line or 'no error is known'}")
        self.traceback = traceback


class TaskLost(TaskError):
    """A task died without a word of its own: its worker process kept dying, or nobody knows it."""


class TaskExpired(TaskError):
    """A task had not started before it expired."""


class TaskCancelled(TaskError):
    """An operator took a task away before it ran, or asked a running one to stop (`raise_if_cancelled()`)."""


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


class WebhookError(DjangoCfgError):
    """A webhook was refused, did not answer, or answered with no success; the URL is never part of the message."""


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
