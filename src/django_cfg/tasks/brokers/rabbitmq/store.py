"""The two places of this broker: a server that carries messages, and a database for what it cannot keep."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.ledger import Ledger, Orders
from django_cfg.tasks.brokers.rabbitmq.note import Parcel
from django_cfg.tasks.brokers.rabbitmq.producing import Publisher
from django_cfg.tasks.brokers.rabbitmq.topology import LONGEST_MS, Names
from django_cfg.tasks.conf import TaskSettings

#: How old a process's picture of cancellations and pauses may be.
ORDERS_S = 1.0
NEVER = float("-inf")


class Store:
    """What the broker and its sessions share.

    Parameters:
        results_alias: the database of the results; None: `records_database`, where everything else stands.
    """

    def __init__(self, settings: TaskSettings, results_alias: str | None) -> None:
        self.address = address(settings.broker_url)
        self.names = Names(settings.rabbitmq_prefix)
        self.publisher = Publisher(self.address, self.names)
        self.ledger = Ledger(settings.records_database, results_alias or settings.records_database)
        asked = self.address.heartbeat_s
        #: Of a worker's connection: it is the lease.
        self.heartbeat_s = settings.lease_ms // 1000 if asked is None else asked
        self._orders: tuple[float, Orders] = (NEVER, Orders())

    def put(self, parcels: Sequence[Parcel]) -> None:
        """Publish, or keep in the database what is due later than the ladder reaches.

        Raises:
            BrokerUnreachable: nothing was stored.
            EnqueueUnknown: the connection broke after messages had left.
        """
        later = [one for one in parcels if one.delay_ms > LONGEST_MS]
        if later:
            self.ledger.schedule(later)
        self.publisher.publish([one for one in parcels if one.delay_ms <= LONGEST_MS])

    def orders(self) -> Orders:
        """What operators want, at most a second old."""
        read_at, orders = self._orders
        now = time.monotonic()
        if now - read_at > ORDERS_S:
            orders = self.ledger.orders()
            self._orders = now, orders
        return orders

    def forget_orders(self) -> None:
        """Read them anew at the next look."""
        self._orders = (NEVER, Orders())
