"""Where SQL differs between databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django_cfg.errors import ConfigurationError

#: MySQL and MariaDB under one name, as in Django.
MYSQL = "mysql"


@dataclass(frozen=True)
class Dialect:
    """One database's way to say things.

    Attributes:
        now: milliseconds since 1970 by the database's clock, moving on inside a transaction.
        for_update: appended to a SELECT so that its rows stay as they are until the end of the transaction.
        at_once: one statement may change several tables, and many rows come by COPY.
        has_returning: an UPDATE tells the rows that it changed, and an INSERT the id that it gave.
        says_conflict: upserts say ON CONFLICT and `excluded`; else ON DUPLICATE KEY and VALUES().
        sends_scripts: statements that need no answer travel with the next one.
        one_host: the database is a file of one host, so a living process is never swept.
    """

    vendor: str
    now: str
    for_update: str = ""
    at_once: bool = False
    has_returning: bool = True
    says_conflict: bool = True
    sends_scripts: bool = False
    one_host: bool = False

    @property
    def is_in_process(self) -> bool:
        """Whether a statement costs no round trip: the file is read by a library, not by a server."""
        return self.one_host

    @property
    def skip_locked(self) -> str:
        """As `for_update`, but passing over what others have locked, so that claimers do not wait for each other."""
        return f"{self.for_update} SKIP LOCKED" if self.for_update else ""

    def keep(self, key: str) -> str:
        """The end of an INSERT that leaves alone what is there. It hides no other error, as IGNORE would."""
        return f"ON CONFLICT ({key}) DO NOTHING" if self.says_conflict else f"ON DUPLICATE KEY UPDATE {key} = {key}"

    def replace(self, key: str, columns: Sequence[str]) -> str:
        """The end of an INSERT that puts these columns of a row that is there anew."""
        if self.says_conflict:
            return f"ON CONFLICT ({key}) DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in columns)
        return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{c} = VALUES({c})" for c in columns)

    def use_index(self, name: str) -> str:
        """Said where a plan that reads the whole table would wait for, and lock, the rows of others."""
        return "" if self.has_returning else f"FORCE INDEX ({name})"


DIALECTS = {
    "postgresql": Dialect(
        "postgresql",
        now="(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        for_update="FOR UPDATE",
        at_once=True,
    ),
    MYSQL: Dialect(
        MYSQL,
        # Not UNIX_TIMESTAMP(NOW()): that goes through the server's time zone, which repeats an hour in autumn.
        now="(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)",
        for_update="FOR UPDATE",
        has_returning=False,
        says_conflict=False,
        sends_scripts=True,
    ),
    "sqlite": Dialect(
        "sqlite",
        now="CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        one_host=True,
    ),
}


def dialect_of(vendor: str, alias: str) -> Dialect:
    """The dialect of a Django database.

    Raises:
        ConfigurationError: the engine does not speak it; names the ones it does.
    """
    try:
        return DIALECTS[vendor]
    except KeyError:
        known = ", ".join(sorted(DIALECTS))
        raise ConfigurationError(
            f"database {alias!r} is {vendor}; the database broker works on {known}. "
            f"Name another alias: broker_url='database://ALIAS'"
        ) from None
