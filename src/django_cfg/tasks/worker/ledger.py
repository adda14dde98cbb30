"""What a worker process holds, in shared memory that its death leaves behind.

The supervisor makes one *bank* per process before the fork. The process writes there which messages it claimed,
which of them started and how they ended; whoever settles for it after its death reads it. A record of a few
bytes is written by one thread and its state last, so a death in between leaves the state before.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from django_cfg.tasks.brokers.contract import Claim, Outcome, ProcessIdentity
from django_cfg.tasks.brokers.process import guarded, identity
from django_cfg.tasks.lifecycle import Kind
from django_cfg.tasks.worker import packed

#: Changes with the layout: after a reload a supervisor reads only banks that it understands.
LAYOUT = 3
#: As many claims as quick tasks end while a batch of them is on its way over a slow network.
SLOTS = 2048
#: Heads lie close together and hold most outcomes too; the room of a larger one is memory only once it is used.
HEAD_BYTES = 512
ROOM_BYTES = 8192
#: fence, generation, enqueued at (ms), deliveries, retries, length of the names, length of the outcome
_HEAD = struct.Struct("=qqqHHII")
_FENCE = struct.Struct("=q")
_LENGTH = struct.Struct("=I")
_LENGTH_AT = _HEAD.size - _LENGTH.size
MOST = 65_535
_WORDS, _TIMES = 32, 32
_STATES_AT = 8 * (_WORDS + _TIMES)
_DEADLINES_AT = _STATES_AT + SLOTS
_SPANS_AT = _DEADLINES_AT + 8 * SLOTS
_HEADS_AT = _SPANS_AT + 8 * SLOTS
_ROOMS_AT = -(-(_HEADS_AT + HEAD_BYTES * SLOTS) // mmap.PAGESIZE) * mmap.PAGESIZE
BANK_BYTES = _ROOMS_AT + ROOM_BYTES * SLOTS


def names_at(slot: int, names: int) -> int:
    """Where the names of a slot begin, by their length: in its head, else at the start of its room."""
    if _HEAD.size + names <= HEAD_BYTES:
        return _HEADS_AT + HEAD_BYTES * slot + _HEAD.size
    return _ROOMS_AT + ROOM_BYTES * slot


def outcome_at(slot: int, names: int, outcome: int) -> int:
    """Where its outcome begins, by both lengths: behind the names if they leave it space, else in the room."""
    if _HEAD.size + names + outcome <= HEAD_BYTES:
        return _HEADS_AT + HEAD_BYTES * slot + _HEAD.size + names
    taken = 0 if _HEAD.size + names <= HEAD_BYTES else names
    return _ROOMS_AT + ROOM_BYTES * slot + taken


class Use(IntEnum):
    """Who a bank belongs to."""

    FREE = 0
    LIVING = 1
    DEAD = 2  # with a session, to be settled


class At(IntEnum):
    """How far a slot's message has come."""

    EMPTY = 0
    CLAIMED = 1
    STARTED = 2
    TIMED_OUT = 3  # started, and its process was killed for that
    DONE = 4  # returned nothing that must be kept
    ENDED = 5  # the outcome lies in the slot
    RETURNED = 6  # returned a value, which lies in the slot


class _Word(IntEnum):
    USE = 0
    PID = 1
    STARTED = 2
    SESSION = 3
    TASKS = 4
    STATUS = 5
    TURN = 6


class _Time(IntEnum):
    BY_WORKER = 0
    BY_KEEPER = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One slot as it is read after the fact.

    Attributes:
        span: of a task that runs, the moment of its start (monotonic clock, s); of one that returned, its time (ms).
    """

    at: At
    message_id: str
    queue: str
    task: str
    fence: int
    generation: int
    enqueued_at_ms: int
    deliveries: int
    retries: int
    span: float
    data: bytes


class Bank:
    """The memory of one process; each field has one writer at a time.

    Attributes:
        file, index: where it lies, to hand it over.
    """

    def __init__(self, memory: mmap.mmap, file: int, index: int) -> None:
        start = index * BANK_BYTES
        view = memoryview(memory)
        self.file, self.index = file, index
        self.memory = view[start : start + BANK_BYTES]
        self._head = self.memory[:_HEADS_AT]
        self._words = self._head[: 8 * _WORDS].cast("q")
        self._times = self._head[8 * _WORDS : _STATES_AT].cast("d")
        self.states = self._head[_STATES_AT:_DEADLINES_AT]
        self.deadlines = self._head[_DEADLINES_AT:_SPANS_AT].cast("d")
        self.spans = self._head[_SPANS_AT:_HEADS_AT].cast("d")

    # -- whose it is: the supervisor ---------------------------------------------------------------------

    @property
    def use(self) -> Use:
        return Use(self._words[_Word.USE])

    @property
    def turn(self) -> int:
        """Grows with each process that got this bank."""
        return self._words[_Word.TURN]

    def give(self, turn: int) -> None:
        """To a process that is about to be made."""
        self._head[:] = bytes(len(self._head))
        self._words[_Word.TURN] = turn
        self._words[_Word.USE] = Use.LIVING

    def is_of(self, pid: int) -> None:
        self._words[_Word.PID] = pid

    def died(self, status: int) -> None:
        """Its process has ended, with this exit code (negative: the signal that killed it)."""
        self._words[_Word.STATUS] = status
        self._words[_Word.USE] = Use.DEAD if self.session else Use.FREE

    def free(self) -> None:
        """Everything in it is settled."""
        self._words[_Word.USE] = Use.FREE

    @property
    def status(self) -> int:
        return self._words[_Word.STATUS]

    # -- the process -------------------------------------------------------------------------------------

    def born(self, started: str) -> None:
        """The process names its own start."""
        self._words[_Word.STARTED] = int(started or 0)
        self._words[_Word.PID] = os.getpid()

    @property
    def session(self) -> int:
        """0: it holds nothing."""
        return self._words[_Word.SESSION]

    @session.setter
    def session(self, number: int) -> None:
        self._words[_Word.SESSION] = number

    @property
    def tasks(self) -> int:
        """How many tasks the process has ended."""
        return self._words[_Word.TASKS]

    def count(self, tasks: int) -> None:
        self._words[_Word.TASKS] += tasks

    @property
    def pid(self) -> int:
        return self._words[_Word.PID]

    def process(self, guardian: ProcessIdentity) -> ProcessIdentity:
        """The process as it named itself to the broker."""
        started = str(self._words[_Word.STARTED] or "")
        return guarded(replace(guardian, pid=self.pid, process_started=started), guardian)

    # -- the lease: monotonic clock, in seconds ----------------------------------------------------------

    @property
    def renewed_by_worker(self) -> float:
        return self._times[_Time.BY_WORKER]

    @renewed_by_worker.setter
    def renewed_by_worker(self, moment: float) -> None:
        self._times[_Time.BY_WORKER] = moment

    @property
    def renewed_by_keeper(self) -> float:
        return self._times[_Time.BY_KEEPER]

    @renewed_by_keeper.setter
    def renewed_by_keeper(self, moment: float) -> None:
        self._times[_Time.BY_KEEPER] = moment

    # -- slots -------------------------------------------------------------------------------------------

    def overdue(self, now: float) -> list[int]:
        """Slots whose task is past its hard limit."""
        return [slot for slot, deadline in enumerate(self.deadlines.tolist()) if 0.0 < deadline <= now]

    def entries(self) -> Iterator[Entry]:
        """Every slot in use."""
        for slot, state in enumerate(bytes(self.states)):
            if state != At.EMPTY:
                yield self.entry(slot)

    def running(self) -> list[Entry]:
        return [entry for entry in self.entries() if entry.at is At.STARTED]

    def entry(self, slot: int) -> Entry:
        head = _HEAD.unpack_from(self.memory, _HEADS_AT + HEAD_BYTES * slot)
        fence, generation, enqueued, deliveries, retries, names, outcome = head
        start, data_at = names_at(slot, names), outcome_at(slot, names, outcome)
        message_id, queue, task = bytes(self.memory[start : start + names]).decode().split("\0")
        return Entry(
            at=At(self.states[slot]),
            message_id=message_id,
            queue=queue,
            task=task,
            fence=fence,
            generation=generation,
            enqueued_at_ms=enqueued,
            deliveries=deliveries,
            retries=retries,
            span=self.spans[slot],
            data=bytes(self.memory[data_at : data_at + outcome]),
        )


class Ledger:
    """A worker process's pen. Claims and settlements come from its exchange thread, the rest from task threads."""

    is_guarded = True

    def __init__(self, bank: Bank, guardian: ProcessIdentity) -> None:
        self.bank = bank
        self._guardian = guardian
        self._memory, self._states, self._deadlines, self._spans = bank.memory, bank.states, bank.deadlines, bank.spans
        # By the identity of the claim: one message may be claimed twice, after a lost session.
        self._slots: dict[int, int] = {}
        self._free = list(range(SLOTS - 1, -1, -1))
        #: The length of the names in each slot.
        self._names = [0] * SLOTS

    def identity(self) -> ProcessIdentity:
        """Who opens the session."""
        return guarded(identity(), self._guardian)

    @property
    def room(self) -> int:
        return len(self._free)

    def opened(self, session: int) -> None:
        self.bank.session = session

    def renewed(self, moment: float) -> None:
        self.bank.renewed_by_worker = moment

    @property
    def renewed_by_keeper(self) -> float:
        return self.bank.renewed_by_keeper

    def claimed(self, claim: Claim) -> None:
        message = claim.message
        names = f"{message.message_id}\0{message.queue_name}\0{message.actor_name}".encode()
        if len(names) > ROOM_BYTES:
            return  # not written by us; its session alone knows of it
        slot = self._free.pop()
        retries = message.options.get("retries", 0)
        if retries.__class__ is not int or not 0 <= retries <= MOST:
            retries = 0  # not written by us
        deliveries = min(claim.deliveries, MOST)
        head = _HEAD.pack(claim.fence, claim.generation, claim.enqueued_at_ms, deliveries, retries, len(names), 0)
        at = _HEADS_AT + HEAD_BYTES * slot
        self._memory[at : at + _HEAD.size] = head
        start = names_at(slot, len(names))
        self._memory[start : start + len(names)] = names
        self._names[slot] = len(names)
        self._states[slot] = 1
        self._slots[id(claim)] = slot

    def goes_on(self, running: Claim, claim: Claim) -> None:
        """The run of a claim whose session was lost counts for a newer one from now on; its slot stays where it is."""
        slot = self._slots.get(id(running))
        if slot is not None:
            _FENCE.pack_into(self._memory, _HEADS_AT + HEAD_BYTES * slot, claim.fence)

    def started(self, claim: Claim, limit_s: float) -> None:
        slot = self._slots.get(id(claim))
        if slot is None:
            return
        now = time.monotonic()
        self._spans[slot] = now
        self._deadlines[slot] = now + limit_s
        self._states[slot] = 2

    def ended(self, outcome: Outcome) -> bool:
        """Note an outcome before it is sent; False if it is too large for that."""
        slot = self._slots.get(id(outcome.claim))
        if slot is None:
            return True
        self._deadlines[slot] = 0.0
        if outcome.kind is Kind.DONE and not outcome.follow_ups:
            if outcome.result is not None:
                return self._keep(slot, 6, packed.pack_value, outcome)
            self._spans[slot] = outcome.run_ms
            self._states[slot] = 4
            return True
        if outcome.kind is Kind.RELEASED:
            self._states[slot] = 1
            return True
        return self._keep(slot, 5, packed.pack, outcome)

    def _keep(self, slot: int, state: int, pack: Callable[[Outcome], bytes], outcome: Outcome) -> bool:
        try:
            data = pack(outcome)
        except packed.UNPACKABLE:
            return True  # the store will not take it either; the exchange finds out
        at = outcome_at(slot, self._names[slot], len(data))
        end = at + len(data)
        if end > _ROOMS_AT + ROOM_BYTES * (slot + 1):
            return False
        self._memory[at:end] = data
        _LENGTH.pack_into(self._memory, _HEADS_AT + HEAD_BYTES * slot + _LENGTH_AT, len(data))
        self._states[slot] = state
        return True

    def settled(self, claim: Claim) -> None:
        """The broker has the outcome, or another process the message."""
        slot = self._slots.pop(id(claim), None)
        if slot is not None:
            self._states[slot] = 0
            self._deadlines[slot] = 0.0
            self._free.append(slot)

    def count(self, tasks: int) -> None:
        self.bank.count(tasks)


class NoLedger:
    """For a worker without a supervisor (in tests): nobody would read one."""

    is_guarded = False
    room = 1_000_000
    renewed_by_keeper = 0.0

    def identity(self) -> ProcessIdentity:
        return identity()

    def opened(self, session: int) -> None: ...

    def renewed(self, moment: float) -> None: ...

    def claimed(self, claim: Claim) -> None: ...

    def goes_on(self, running: Claim, claim: Claim) -> None: ...

    def started(self, claim: Claim, limit_s: float) -> None: ...

    def ended(self, outcome: Outcome) -> bool:
        return True

    def settled(self, claim: Claim) -> None: ...

    def count(self, tasks: int) -> None: ...


class Ledgers:
    """The banks of a supervisor's processes, and who it is.

    Parameters:
        files: descriptors of banks that an earlier program of this process, or its supervisor, made.
        guardian: the supervisor; None: this process.
    """

    def __init__(self, files: Sequence[int] = (), guardian: ProcessIdentity | None = None) -> None:
        self.guardian = guardian or identity()
        self.files: list[int] = []
        self.banks: list[Bank] = []
        for file in files:
            self._add(file)

    def grow(self, count: int) -> None:
        """Have at least so many banks. Before the first fork: what comes later nobody else would see."""
        missing = count - len(self.banks)
        if missing > 0:
            file = _memory()
            os.ftruncate(file, missing * BANK_BYTES)
            self._add(file)

    def _add(self, file: int) -> None:
        size = os.fstat(file).st_size
        memory = mmap.mmap(file, size)
        self.files.append(file)
        self.banks += [Bank(memory, file, index) for index in range(size // BANK_BYTES)]

    def take(self) -> tuple[Bank, bool]:
        """A bank for a new process, and whether one had to be forgotten for it, unsettled."""
        found = next((bank for bank in self.banks if bank.use is Use.FREE), None)
        bank = found or min((bank for bank in self.banks if bank.use is Use.DEAD), key=lambda b: b.turn)
        bank.give(max(b.turn for b in self.banks) + 1)
        return bank, found is None

    def find(self, file: int, index: int) -> Bank | None:
        return next((bank for bank in self.banks if (bank.file, bank.index) == (file, index)), None)

    def of(self, use: Use) -> list[Bank]:
        return [bank for bank in self.banks if bank.use is use]


def _memory() -> int:
    """An unnamed file in memory; where there is no such thing, one without a name on disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rundramatiq-ledger")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
