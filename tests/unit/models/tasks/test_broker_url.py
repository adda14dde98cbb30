from __future__ import annotations

import pytest

from django_cfg.errors import BrokerURLError
from django_cfg.models.tasks.broker_url import RESULT_SCHEMES, check_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://bob:p%40ss%23@localhost:6379?db=3&socket_timeout=1.5&retry_on_timeout=yes",
        "rediss://[::1]:6379/15?ssl_cert_reqs=none",
        "redis+sentinel://bob:p%40ss@h1:26379,h2,[::1]:26380/shop/2?socket_timeout=1",
        "sentinel://h1/shop",
        "rediss+sentinel://:secret@h1/shop/0?ssl_check_hostname=false&sentinel_username=bob&sentinel_password=p%40ss",
        "unix:///run/redis@home.sock?db=2",
        "unix://:secret@/run/redis.sock",
        "amqp://guest:guest@localhost:5672/%2Fshop?heartbeat=30",
        "amqps://localhost",
        "database://default",
        "database://queue_1",
        "stub://",
    ],
)
def test_a_usable_url_stays_as_it_is(url: str) -> None:
    assert check_url("broker_url", url) == url


# What a message must say, and what it must not show.
BAD = [
    ("  ", "is blank; set it or remove it"),
    ("localhost:6379", "did you mean 'redis://localhost:6379/0'?"),
    (
        "localhost",
        "is not a URL; write one of redis://localhost:6379/0, amqp://user:password@localhost:5672/",
    ),
    ("rabbit:5672", "did you mean 'amqp://user:password@rabbit:5672/'?"),
    ("redis://localhost:6379/two", "database must be a number (0–15 unless the server has more), got 'two'"),
    ("redis+sentinel://h1:26379,h2:26379", "names no service; write redis+sentinel://h1:26379,h2:26379/service/0"),
    ("redis://localhost:6379/0?ssl_ca_certs=/x", "has the option ssl_ca_certs, but no TLS; write rediss://"),
    ("sentinel://h1/shop?ssl_cert_reqs=none", "has the option ssl_cert_reqs, but no TLS; write rediss+sentinel://"),
    ("amqp://localhost/?ssl_check_hostname=no", "has the option ssl_check_hostname, but no TLS; write amqps://"),
    ("redis://localhost:6379/0?sentinel_password=x", "unknown option"),
    ("sentinel://h1/shop?sentinel_username=", "option sentinel_username expects text"),
    ("sentinel://h1:abc/shop", "must name sentinels as host:port, with commas between"),
    ("sentinel://h1/shop/two", "after the service comes one database number, got 'two'"),
    ("redis://localhost:6379/0/2", "names two databases ('0/2'); write redis://host:port/2"),
    ("redis://localhost:6379/1?db=2", "names two databases (/1 and ?db=2); keep one of them"),
    (
        "redis://:p@ss#word@host/0",
        "an unescaped @ and # in the user name or password; encode @ as %40, # as %23",
    ),
    ("amqp://u:p/w@host/v", "holds an unescaped / in the user name or password; encode / as %2F"),
    ("redis://:p?w@host/0", "holds an unescaped ? in the user name or password; encode ? as %3F"),
    ("redis://host/0#rest", "holds an unescaped #"),
    ("redis://${REDIS_HOST}:6379/0", "holds a variable that was not expanded (${...})"),
    (" redis://localhost", "starts or ends with a blank or a line break; remove it"),
    ("redis://localhost/0\n", "starts or ends with a blank or a line break; remove it"),
    ("redis://local host/0", "holds a blank or a control character"),
    ("redis://h:6379/0?foo=1", "has the unknown option 'foo'; known: client_name, db,"),
    ("redis://h:6379/0?socket_timeou=1", "did you mean 'socket_timeout'?"),
    ("redis://h:6379/0?socket_timeout=abc", "option socket_timeout expects a number of seconds, got 'abc'"),
    ("redis://h:6379?db=two", "option db expects a whole number, got 'two'"),
    (
        "http://localhost:6379",
        "has the scheme 'http', which is none of redis://, rediss://, unix://, amqp://",
    ),
    ("reddis://localhost", "did you mean redis://?"),
    ("REDIS://localhost", "has the scheme 'REDIS', which is none of redis://"),
    ("redis://localhost/٣", "database must be a number"),
    ("redis://", "names no host; write redis://localhost:6379/0"),
    ("redis:///0", "names no host"),
    ("amqp://", "names no host"),
    ("amqp://localhost/a/b", "names two virtual hosts"),
    ("redis://localhost:99999/0", "has a port or host that cannot be read"),
    ("redis://localhost:0/0", "has port 0"),
    ("redis://[::1/0", "has a port or host that cannot be read"),
    ("unix://", "names no socket; write unix:///path/to/redis.sock?db=0"),
    ("database://", "must be database:// and an alias of DATABASES"),
    ("database://default/x", "must be database:// and an alias of DATABASES"),
    ("stub://x", "takes nothing after stub://"),
]


@pytest.mark.parametrize(("url", "said"), BAD)
def test_an_unusable_url_is_refused_with_its_cure(url: str, said: str) -> None:
    with pytest.raises(BrokerURLError) as caught:
        check_url("broker_url", url)

    assert str(caught.value).startswith("broker_url ")
    assert said in str(caught.value)


def test_results_are_never_kept_in_rabbitmq() -> None:
    with pytest.raises(BrokerURLError, match="none of redis://, rediss://, unix://, database://, stub://"):
        check_url("result_backend", "amqp://localhost", RESULT_SCHEMES)
