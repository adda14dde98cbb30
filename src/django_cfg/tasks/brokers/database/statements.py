"""The SQL of the database broker, one attribute a statement. Values are always parameters."""

from __future__ import annotations

from django_cfg.tasks.brokers.database.dialect import Dialect
from django_cfg.tasks.models import DeadLetter, EngineState, PausedQueue, QueueMessage, TaskResult, WorkerSession
from django_cfg.tasks.models.queue_message import MessageState

READY, SCHEDULED = MessageState.READY.value, MessageState.SCHEDULED.value
CLAIMED, SUSPECT = MessageState.CLAIMED.value, MessageState.SUSPECT.value
#: Back among the ready ones: a message that once took its process down stays a suspect.
BACK = f"CASE WHEN deliveries > 0 THEN {SUSPECT} ELSE {READY} END"


#: What an enqueue gives of a message; the rest is the same for all.
GIVEN = "message_id, queue, task, priority, state, body"
STAGE = "django_cfg_tasks_incoming"
#: How much of what is due one exchange makes ready.
MOST_DUE = 1000
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
        return f"{self._into_message} VALUES {marks(rows, row)} {self.dialect.keep('message_id')}"

    @property
    def _into_message(self) -> str:
        return (
            f"INSERT INTO {self.message} ({GIVEN}, enqueued_at, due_at, "
            "generation, is_retry, fence, deliveries, session, claim_seq, cancel_requested)"
        )

    def insert_and_forget(self, rows: int, *, notify: bool) -> str:
        """Some rows, the same ids gone from the dead letters, and waiting workers woken: one round trip."""
        said = f"SELECT {self.notify}" if notify else "SELECT 1"
        return f"WITH gone AS ({self.forget_dead(rows)}), put AS ({self.insert(rows)}) {said}"

    @property
    def notify(self) -> str:
        return f"pg_notify('{CHANNEL}', '')"

    @property
    def stage(self) -> str:
        """Where COPY puts many rows; it cannot leave alone the ids that live."""
        columns = "message_id text, queue text, task text, priority int, state int, body text, delay bigint, n int"
        return f"CREATE TEMP TABLE IF NOT EXISTS {STAGE} ({columns}) ON COMMIT DROP"

    @property
    def copy_to_stage(self) -> str:
        return f"COPY {STAGE} ({GIVEN}, delay, n) FROM STDIN"

    @property
    def forget_staged(self) -> str:
        return f"DELETE FROM {self.dead} WHERE message_id IN (SELECT message_id FROM {STAGE})"

    @property
    def insert_staged(self) -> str:
        return (
            f"{self._into_message} SELECT {GIVEN}, {self.now}, {self.now} + delay, {self.now}, false, 0, 0, NULL, "
            f"NULL, false FROM {STAGE} ORDER BY n {self.dialect.keep('message_id')}"
        )

    @property
    def clear_stage(self) -> str:
        return f"TRUNCATE {STAGE}"

    def forget_dead(self, rows: int) -> str:
        return f"DELETE FROM {self.dead} WHERE message_id IN ({marks(rows, '%s')})"

    # -- sessions --------------------------------------------------------------------------------------

    @property
    def open_session(self) -> str:
        return (
            f"INSERT INTO {self.session} (host_id, host, pid, process_started, lease_ms, lease_until, opened_at, "
            f"last_seq, last_refused) VALUES (%s, %s, %s, %s, %s, {self.now} + %s, {self.now}, 0, '[]')"
            + (" RETURNING id" if self.dialect.has_returning else "")
        )

    @property
    def advance_session(self) -> str:
        """Renew, lock, and take the next number. No row: the session is gone, or the number was answered."""
        return (
            f"UPDATE {self.session} SET lease_until = {self.now} + lease_ms, last_seq = %s, last_refused = '[]' "
            "WHERE id = %s AND last_seq < %s"
        )

    @property
    def touch_session(self) -> str:
        """Renew and lock. No row: the session is gone."""
        return f"UPDATE {self.session} SET lease_until = {self.now} + lease_ms WHERE id = %s"

    @property
    def refused_last(self) -> str:
        return f"SELECT last_refused FROM {self.session} WHERE id = %s"

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

    # -- outcomes: of claims that `glance` found to be ours, by key, under the lock of our session ------

    @property
    def _mine(self) -> str:
        return self.dialect.use_index("PRIMARY")

    def finish(self, rows: int) -> str:
        which = f"WHERE id IN ({marks(rows, '%s')})"
        if self.dialect.has_returning:
            return f"DELETE FROM {self.message} {which}"
        # The form that takes an index hint.
        return f"DELETE {self.message} FROM {self.message} {self._mine} {which}"

    def hand_back(self, rows: int) -> str:
        return (
            f"UPDATE {self.message} {self._mine} SET state = {BACK}, session = NULL, claim_seq = NULL "
            f"WHERE id IN ({marks(rows, '%s')})"
        )

    @property
    def retry(self) -> str:
        return (
            f"UPDATE {self.message} SET state = {SCHEDULED}, session = NULL, claim_seq = NULL, is_retry = true, "
            f"body = %s, due_at = {self.now} + %s WHERE id = %s"
        )

    @property
    def bury_changed(self) -> str:
        return self._bury(body="%s")

    @property
    def bury_as_it_is(self) -> str:
        return self._bury(body="body")

    @property
    def bury_killed(self) -> str:
        """With the death that nobody has counted yet."""
        return self._bury(body="body", deliveries="deliveries + 1")

    def _bury(self, body: str, deliveries: str = "deliveries") -> str:
        news = ("body", "died_at", "generation", "deliveries", "reason", "error")
        return (
            f"INSERT INTO {self.dead} (message_id, queue, task, priority, body, enqueued_at, died_at, generation, "
            f"deliveries, reason, error) SELECT message_id, queue, task, priority, {body}, enqueued_at, "
            f"{self.now}, generation, {deliveries}, %s, %s FROM {self.message} WHERE message_id = %s "
            + self.dialect.replace("message_id", news)
        )

    @property
    def remove(self) -> str:
        return f"DELETE FROM {self.message} WHERE message_id = %s"

    # -- operators -------------------------------------------------------------------------------------

    @property
    def state_of(self) -> str:
        return f"SELECT state FROM {self.message} WHERE message_id = %s {self.dialect.for_update}"

    @property
    def mark_cancelled(self) -> str:
        return f"UPDATE {self.message} SET cancel_requested = true WHERE message_id = %s"

    @property
    def body_of(self) -> str:
        return f"SELECT body FROM {self.message} WHERE message_id = %s"

    # -- results ---------------------------------------------------------------------------------------

    def put_results(self, rows: int) -> str:
        return (
            f"INSERT INTO {self.result} (message_id, body, expires_at) "
            f"VALUES {marks(rows, f'(%s, %s, {self.now} + %s)')} "
            + self.dialect.replace("message_id", ("body", "expires_at"))
        )

    @property
    def get_result(self) -> str:
        return f"SELECT body FROM {self.result} WHERE message_id = %s AND expires_at > {self.now}"

    @property
    def expired_results(self) -> str:
        return f"SELECT message_id FROM {self.result} WHERE expires_at <= (SELECT {self.now}) LIMIT 500"

    def drop_results(self, rows: int) -> str:
        return f"DELETE FROM {self.result} WHERE message_id IN ({marks(rows, '%s')})"

    # -- claims ----------------------------------------------------------------------------------------

    def glance(self, queues: int, keys: int) -> str:
        """Everything an exchange wants to know before it settles and claims, as (what, name, number, fence) rows.

        One look a queue: a condition on several queues would read what others have scheduled, too.
        """
        mine = f"FROM {self.message} WHERE session = %s AND cancel_requested"
        parts = [
            f"SELECT 'paused', queue, 0, 0 FROM {self.paused}",
            f"SELECT 'revoked', message_id, 0, 0 {mine}",
        ]
        if keys:
            held = f"WHERE session = %s AND id IN ({marks(keys, '%s')})"
            parts.append(f"SELECT 'held', '', id, fence FROM {self.message} {held}")
        for _ in range(queues):
            parts.append(f"SELECT * FROM ({self._first('due', 'due_at', SCHEDULED)} ORDER BY due_at LIMIT 1) AS d")
            parts.append(f"SELECT * FROM ({self._first('suspect', '0', SUSPECT)} LIMIT 1) AS s")
        return " UNION ALL ".join(parts)

    def has_work(self, queues: int) -> str:
        """Whether something can be claimed, as rows like those of `glance`."""
        parts = [f"SELECT 'paused', queue, 0, 0 FROM {self.paused}"]
        for _ in range(queues):
            parts.append(f"SELECT * FROM ({self._first('ready', '0', READY)} LIMIT 1) AS r")
            parts.append(f"SELECT * FROM ({self._first('suspect', '0', SUSPECT)} LIMIT 1) AS s")
            parts.append(f"SELECT * FROM ({self._first('due', 'due_at', SCHEDULED)} ORDER BY due_at LIMIT 1) AS d")
        return " UNION ALL ".join(parts)

    def _first(self, what: str, number: str, state: int) -> str:
        value = f"{number} - {self.now}" if what == "due" else number
        return (
            f"SELECT '{what}' AS what, queue, {value} AS n, 0 AS f FROM {self.message} "
            f"WHERE state = {state} AND queue = %s"
        )

    def due(self, queues: int) -> str:
        """What has become due, locked; a bounded number, so that nobody waits for a whole avalanche.

        The clock is asked in a SELECT of its own: compared with a clock that moves, every scheduled row is read.
        """
        return (
            f"SELECT id FROM {self.message} WHERE state = {SCHEDULED} AND queue IN ({marks(queues, '%s')}) "
            f"AND due_at <= (SELECT {self.now}) ORDER BY due_at LIMIT {MOST_DUE} {self.dialect.skip_locked}"
        )

    def promote(self, rows: int) -> str:
        return f"UPDATE {self.message} {self._mine} SET state = {BACK} WHERE id IN ({marks(rows, '%s')})"

    def claim(self, state: int, queues: int) -> str:
        """Claim and read; where an UPDATE returns nothing, only lock and read: `take` claims then."""
        by_position = self.dialect.use_index("dcfg_msg_claim")
        which = f"WHERE state = {state} AND queue IN ({marks(queues, '%s')}) ORDER BY priority, id LIMIT %s"
        if not self.dialect.has_returning:
            columns = self.claim_columns(fence="fence + 1")
            return f"SELECT {columns} FROM {self.message} {by_position} {which} {self.dialect.skip_locked}"
        return (
            f"UPDATE {self.message} SET {self.claimed_by('%s')} WHERE id IN (SELECT id FROM {self.message} {which} "
            f"{self.dialect.skip_locked}) RETURNING {self.claim_columns()}"
        )

    def claimed_by(self, session: str, seq: str = "%s") -> str:
        return f"state = {CLAIMED}, session = {session}, claim_seq = {seq}, fence = fence + 1, claimed_at = {self.now}"

    def take(self, rows: int) -> str:
        claimed = self.claimed_by("%s")
        return f"UPDATE {self.message} {self._mine} SET {claimed} WHERE id IN ({marks(rows, '%s')})"

    def claim_columns(self, table: str = "", fence: str = "fence") -> str:
        """What `claim.read_claims` reads, in its order."""
        names = ("id", "message_id", "priority", "body", "enqueued_at", "due_at", "generation")
        first = ", ".join(table + name for name in names)
        return f"{first}, {table}{fence}, {table}deliveries, {table}cancel_requested, {self.now} AS now_ms"

    @property
    def claims_of(self) -> str:
        return f"SELECT {self.claim_columns()} FROM {self.message} WHERE session = %s AND claim_seq = %s"

    # -- sweep -----------------------------------------------------------------------------------------

    @property
    def know_sweep(self) -> str:
        return f"INSERT INTO {self.state} (name, value, previous) VALUES ('sweep', 0, 0) {self.dialect.keep('name')}"

    @property
    def note_sweep(self) -> str:
        # In this order: MySQL would put the new value into both.
        return f"UPDATE {self.state} SET previous = value, value = {self.now} WHERE name = 'sweep'"

    @property
    def last_sweeps(self) -> str:
        return f"SELECT previous, value FROM {self.state} WHERE name = 'sweep'"

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
