"""Where SQL differs between databases."""

from __future__ import annotations

from dataclasses import dataclass

from django_cfg.errors import ConfigurationError


@dataclass(frozen=True)
class Dialect:
    """One database's way to say things.

    Attributes:
        now: milliseconds since 1970 by the database's clock, moving on inside a transaction.
        skip_locked: appended to a SELECT so that claimers do not wait for each other.
        has_arrays: many rows travel as one array a column, and a statement may delete and insert at once.
        one_host: the database is a file of one host, so a living process is never swept.
    """

    vendor: str
    now: str
    skip_locked: str = ""
    has_arrays: bool = False
    one_host: bool = False


DIALECTS = {
    "postgresql": Dialect(
        "postgresql",
        now="(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        skip_locked="FOR UPDATE SKIP LOCKED",
        has_arrays=True,
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
