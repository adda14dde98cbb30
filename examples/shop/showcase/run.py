"""The demo from the first migration to the answer."""

from __future__ import annotations

import dramatiq
from api.environment import REPOSITORY_DIR, env
from apps.knowbase.services.embedding_service import EmbedderUnavailable, get_embedder
from django.core.management import call_command

from django_cfg.errors import BrokerError
from showcase.options import Options
from showcase.progress import watch
from showcase.report import print_report
from showcase.start import DemoError
from showcase.work import enqueue
from showcase.workers import WorkersDied, running


def run(options: Options) -> None:
    """Run everything and print it.

    Raises:
        DemoError: the workers died, the broker is away or the embedder is not installed.
    """
    try:
        get_embedder(options.embedder)  # fail before any work, rather than once per document
        _clean(options)
        _work(options)
    except (EmbedderUnavailable, WorkersDied, BrokerError) as error:
        raise DemoError(str(error)) from error


def _clean(options: Options) -> None:
    print(f"{'Going on' if options.keep else 'Clean state'} in {env.state_dir}", flush=True)
    call_command("migrate", verbosity=0)
    if options.broker and not options.keep:
        # Only this project's queues: they have a key prefix of their own.
        dramatiq.get_broker().flush_all()


def _work(options: Options) -> None:
    log = env.state_dir / "workers.log"
    with running(options, log) as workers:
        print(f"Started {options.processes} × {options.threads} workers; their log: {log}", flush=True)
        work = enqueue(options.docs, REPOSITORY_DIR)
        print(f"Enqueued the shop's work and {work.documents} documents.", flush=True)
        took_s = watch(workers)
        print("Stopping the workers ...", flush=True)
    print_report(work, took_s, options.question)
