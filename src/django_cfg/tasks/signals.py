"""Django signals for what happens to tasks. They fire in worker processes, beside the work; for a task
that died with its process in the keeper, which finds it.

| signal | when | `event` |
| --- | --- | --- |
| `task_completed` | a task ended well | `TaskSettled` |
| `task_retried` | an attempt failed and the task will run again | `TaskSettled` |
| `task_dead_lettered` | a task will not run again unless somebody retries it | `TaskSettled` |
| `task_given_back` | a claim went back: not started, interrupted by a stop, or cancelled | `TaskSettled` |
| `task_lease_lost` | a worker finished what somebody else had been given meanwhile | `OutcomeRefused` |

    @receiver(task_dead_lettered)
    def tell(sender, event, **kwargs): ...

`sender` is the name of the task, so `task_completed.connect(tell, sender="charge")` hears of one task. Receivers run
in a thread of their own, one after the other; an error in one is logged and harms nobody. When they are slower than
the tasks, events above 10,000 are dropped, and the log says how many.
"""

from __future__ import annotations

from django.dispatch import Signal

task_completed = Signal()
task_retried = Signal()
task_dead_lettered = Signal()
task_given_back = Signal()
task_lease_lost = Signal()
