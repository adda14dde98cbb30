"""Django signals for what happens to tasks and workers.

| signal | when | `event` |
| --- | --- | --- |
| `task_completed` | a task ended well | `TaskSettled` |
| `task_retried` | an attempt failed and the task will run again | `TaskSettled` |
| `task_dead_lettered` | a task will not run again unless somebody retries it | `TaskSettled` |
| `task_given_back` | a claim went back: not started, interrupted by a stop, or cancelled | `TaskSettled` |
| `task_lease_lost` | a worker finished what somebody else had been given meanwhile | `OutcomeRefused` |
| `worker_started` | a worker process serves its queues | `WorkerNews` |
| `worker_stopped` | it has ended its tasks and stops | `WorkerNews` |
| `task_enqueued` | a task was sent | `TaskEnqueued` |

    @receiver(task_dead_lettered)
    def tell(sender, event, **kwargs): ...

`sender` is the name of the task, so `task_completed.connect(tell, sender="charge")` hears of one task; of a worker it
is "host:pid". Receivers run in worker processes, and for a task that died with its process in the keeper, in a thread
of their own, one after the other; an error in one is logged and harms nobody. When they are slower than the tasks,
events above 10,000 are dropped, and the log says how many.

Those of `task_enqueued` run where the task is sent, before `send()` returns. Inside a transaction the task is part of
it, and goes with it in a rollback; `transaction.on_commit` waits for the end.
"""

from __future__ import annotations

from django.dispatch import Signal

task_enqueued = Signal()
task_completed = Signal()
task_retried = Signal()
task_dead_lettered = Signal()
task_given_back = Signal()
task_lease_lost = Signal()
worker_started = Signal()
worker_stopped = Signal()
