"""The SQL of the database broker, one attribute a statement. Values are always parameters."""

from __future__ import annotations

from django_cfg.tasks.brokers.database.dialect import Dialect
from django_cfg.tasks.models import DeadLetter, EngineState, PausedQueue, QueueMessage, TaskResult, WorkerSession
from django_cfg.tasks.models.queue_message import MessageState

READY, SCHEDULED = MessageState.READY.value, MessageState.SCHEDULED.value
CLAIMED, SUSPECT = MessageState.CLAIMED.value, MessageState.SUSPECT.value
#: Back among the ready ones: a message that once took its process down stays a suspect.
BACK = f"CASE WHEN deliveries > 0 THEN {SUSPECT} ELSE {READY} END"


#: Where PostgreSQL tells waiting workers that something came.
CHANNEL = "django_cfg_tasks"


def marks(rows: int, row: str) -> str:
    return ", ".join([row] * rows)


class Statements:
    """Statements for one dialect. Methods take the number of rows where a statement has a list."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.now = dialect.now
        self.message = QueueMessage._meta.db_table
        self.dead = DeadLetter._meta.db_table
        self.session = WorkerSession._meta.db_table
        self.result = TaskResult._meta.db_table
        self.state = EngineState._meta.db_table
        self.paused = PausedQueue._meta.db_table

    # -- enqueue ---------------------------------------------------------------------------------------

    def insert(self, rows: int) -> str:
        row = f"(%s, %s, %s, %s, %s, %s, {self.now}, {self.now} + %s, {self.now}, false, 0, 0, NULL, NULL, false)"
        return (
            f"INSERT INTO {self.message} (message_id, queue, task, priority, state, body, enqueued_at, due_at, "
            "generation, is_retry, fence, deliveries, session, claim_seq, cancel_requested) "
            f"VALUES {marks(rows, row)} ON CONFLICT (message_id) DO NOTHING"
        )

    @property
    def insert_columns(self) -> str:
        """Any number of rows from seven arrays, and the same ids gone from the dead letters: one round trip."""
        columns = "message_id, queue, task, priority, state, body"
        return (
            f"WITH given AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::int[], "
            f"%s::text[], %s::bigint[]) WITH ORDINALITY AS t({columns}, delay, n)), "
            f"gone AS (DELETE FROM {self.dead} WHERE message_id = ANY(%s::text[])), "
            f"put AS (INSERT INTO {self.message} ({columns}, enqueued_at, due_at, generation, is_retry, fence, "
            f"deliveries, session, claim_seq, cancel_requested) SELECT {columns}, {self.now}, {self.now} + delay, "
            f"{self.now}, false, 0, 0, NULL, NULL, false FROM given ORDER BY n ON CONFLICT (message_id) DO NOTHING)"
        )

    @property
    def insert_silently(self) -> str:
        return f"{self.insert_columns} SELECT 1"

    @property
    def insert_and_notify(self) -> str:
        return f"{self.insert_columns} SELECT pg_notify('{CHANNEL}', '')"

    def forget_dead(self, rows: int) -> str:
        return f"DELETE FROM {self.dead} WHERE message_id IN ({marks(rows, '%s')})"

    # -- sessions --------------------------------------------------------------------------------------

    @property
    def open_session(self) -> str:
        return (
            f"INSERT INTO {self.session} (host_id, host, pid, process_started, lease_ms, lease_until, opened_at, "
            f"last_seq, last_refused) VALUES (%s, %s, %s, %s, %s, {self.now} + %s, {self.now}, 0, '[]') "
            "RETURNING id"
        )

    @property
    def advance_session(self) -> str:
        """Renew, lock, and take the next number; no row: the session is gone, or the number was answered."""
        return (
            f"UPDATE {self.session} SET lease_until = {self.now} + lease_ms, last_seq = %s, last_refused = '[]' "
            "WHERE id = %s AND last_seq < %s RETURNING id"
        )

    @property
    def touch_session(self) -> str:
        """Renew, lock, and read what was refused last."""
        return f"UPDATE {self.session} SET lease_until = {self.now} + lease_ms WHERE id = %s RETURNING last_refused"

    @property
    def note_refused(self) -> str:
        return f"UPDATE {self.session} SET last_refused = %s WHERE id = %s"

    @property
    def held_ids(self) -> str:
        return f"SELECT message_id FROM {self.message} WHERE session = %s"

    @property
    def give_back_all(self) -> str:
        return f"UPDATE {self.message} SET state = {BACK}, session = NULL, claim_seq = NULL WHERE session = %s"

    def give_back(self, rows: int) -> str:
        return f"{self.give_back_all} AND message_id IN ({marks(rows, '%s')})"

    # -- outcomes --------------------------------------------------------------------------------------

    def _claimed(self, rows: int) -> str:
        return f"session = %s AND (message_id, fence) IN (VALUES {marks(rows, '(%s, %s)')})"

    def finish(self, rows: int) -> str:
        return f"DELETE FROM {self.message} WHERE {self._claimed(rows)} RETURNING message_id"

    def hand_back(self, rows: int) -> str:
        return (
            f"UPDATE {self.message} SET state = {BACK}, session = NULL, claim_seq = NULL "
            f"WHERE {self._claimed(rows)} RETURNING message_id"
        )

    @property
    def retry(self) -> str:
        return (
            f"UPDATE {self.message} SET state = {SCHEDULED}, session = NULL, claim_seq = NULL, is_retry = true, "
            f"body = %s, due_at = {self.now} + %s WHERE session = %s AND message_id = %s AND fence = %s"
        )

    @property
    def bury_claimed(self) -> str:
        return self._bury("session = %s AND message_id = %s AND fence = %s", body="%s")

    @property
    def bury_swept(self) -> str:
        return self._bury("message_id = %s", body="body")

    def _bury(self, where: str, body: str) -> str:
        return (
            f"INSERT INTO {self.dead} (message_id, queue, task, priority, body, enqueued_at, died_at, generation, "
            f"deliveries, reason, error) SELECT message_id, queue, task, priority, {body}, enqueued_at, "
            f"{self.now}, generation, deliveries, %s, %s FROM {self.message} WHERE {where} "
            "ON CONFLICT (message_id) DO UPDATE SET body = excluded.body, died_at = excluded.died_at, "
            "generation = excluded.generation, deliveries = excluded.deliveries, reason = excluded.reason, "
            "error = excluded.error RETURNING message_id"
        )

    @property
    def remove(self) -> str:
        return f"DELETE FROM {self.message} WHERE message_id = %s"

    def put_results(self, rows: int) -> str:
        return (
            f"INSERT INTO {self.result} (message_id, body, expires_at) "
            f"VALUES {marks(rows, f'(%s, %s, {self.now} + %s)')} ON CONFLICT (message_id) "
            "DO UPDATE SET body = excluded.body, expires_at = excluded.expires_at"
        )

    @property
    def get_result(self) -> str:
        return f"SELECT body FROM {self.result} WHERE message_id = %s AND expires_at > {self.now}"

    @property
    def purge_results(self) -> str:
        return (
            f"DELETE FROM {self.result} WHERE message_id IN (SELECT message_id FROM {self.result} "
            f"WHERE expires_at <= {self.now} LIMIT 500)"
        )

    # -- claims ----------------------------------------------------------------------------------------

    def glance(self, queues: int) -> str:
        """Everything an exchange wants to know before it claims, as (what, name, number) rows."""
        among = f"queue IN ({marks(queues, '%s')}) AND queue NOT IN (SELECT queue FROM {self.paused})"
        due = (
            f"SELECT 'due', '', due_at - {self.now} FROM {self.message} WHERE state = {SCHEDULED} AND {among} "
            "ORDER BY due_at LIMIT 1"
        )
        suspect = f"SELECT 1 FROM {self.message} WHERE state = {SUSPECT} AND {among}"
        wanted = f" UNION ALL SELECT * FROM ({due}) AS d UNION ALL SELECT 'suspect', '', 1 WHERE EXISTS ({suspect})"
        return (
            f"SELECT 'paused', queue, 0 FROM {self.paused} "
            f"UNION ALL SELECT 'revoked', message_id, 0 FROM {self.message} WHERE session = %s AND cancel_requested"
            + (wanted if queues else "")
        )

    def promote(self, queues: int) -> str:
        return (
            f"UPDATE {self.message} SET state = {BACK} WHERE state = {SCHEDULED} AND due_at <= {self.now} "
            f"AND queue IN ({marks(queues, '%s')})"
        )

    def has_work(self, queues: int) -> str:
        among = f"queue IN ({marks(queues, '%s')}) AND queue NOT IN (SELECT queue FROM {self.paused})"
        return (
            f"SELECT EXISTS (SELECT 1 FROM {self.message} WHERE state IN ({READY}, {SUSPECT}) AND {among}), "
            f"(SELECT due_at - {self.now} FROM {self.message} WHERE state = {SCHEDULED} AND {among} "
            "ORDER BY due_at LIMIT 1)"
        )

    def claim(self, state: int, queues: int) -> str:
        return (
            f"UPDATE {self.message} SET state = {CLAIMED}, session = %s, claim_seq = %s, fence = fence + 1 "
            f"WHERE id IN (SELECT id FROM {self.message} WHERE state = {state} "
            f"AND queue IN ({marks(queues, '%s')}) "
            f"ORDER BY priority, id LIMIT %s {self.dialect.skip_locked}) RETURNING {self.claim_columns}"
        )

    @property
    def claim_columns(self) -> str:
        return (
            f"id, message_id, priority, body, enqueued_at, due_at, generation, fence, deliveries, {self.now} AS now_ms"
        )

    @property
    def claims_of(self) -> str:
        return f"SELECT {self.claim_columns} FROM {self.message} WHERE session = %s AND claim_seq = %s"

    # -- sweep -----------------------------------------------------------------------------------------

    @property
    def know_sweep(self) -> str:
        return f"INSERT INTO {self.state} (name, value, previous) VALUES ('sweep', 0, 0) ON CONFLICT DO NOTHING"

    @property
    def note_sweep(self) -> str:
        return (
            f"UPDATE {self.state} SET previous = value, value = {self.now} WHERE name = 'sweep' "
            "RETURNING previous, value"
        )

    @property
    def grant_all(self) -> str:
        return f"UPDATE {self.session} SET lease_until = {self.now} + lease_ms"

    @property
    def sessions(self) -> str:
        return (
            f"SELECT id, host_id, host, pid, process_started, lease_until < {self.now} FROM {self.session} "
            f"{self.dialect.skip_locked}"
        )

    @property
    def drop_session(self) -> str:
        return f"DELETE FROM {self.session} WHERE id = %s"

    @property
    def claims_of_lost(self) -> str:
        return (
            "SELECT message_id, task, deliveries, cancel_requested, queue, generation, fence, enqueued_at "
            f"FROM {self.message} WHERE session = %s"
        )

    @property
    def suspect(self) -> str:
        return (
            f"UPDATE {self.message} SET state = {SUSPECT}, session = NULL, claim_seq = NULL, "
            "deliveries = deliveries + 1 WHERE message_id = %s"
        )
