"""What tables need beyond their columns, in the words of each database. Called at the end of the first migration."""

from __future__ import annotations

from typing import Any

#: Rows that come and go by the thousand: clean up early and at full speed, whatever the size of the table was.
BUSY = {
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_cost_delay": 0,
    "autovacuum_analyze_threshold": 1000,
    "autovacuum_analyze_scale_factor": 0.05,
}
#: A few rows that are written anew all the time: room for the new versions beside the old.
REWRITTEN = {"fillfactor": 50, "autovacuum_vacuum_threshold": 500, "autovacuum_vacuum_scale_factor": 0}
POSTGRES_OPTIONS = {"queuemessage": BUSY, "taskresult": BUSY, "workersession": REWRITTEN}


def tune(apps: Any, schema_editor: Any) -> None:
    """Options of tables; only MySQL and PostgreSQL need any."""
    vendor = schema_editor.connection.vendor
    if vendor == "mysql":
        _exact_text(apps, schema_editor)
    elif vendor == "postgresql":
        _early_vacuum(apps, schema_editor)
        _no_index_for_like(apps, schema_editor)


def _early_vacuum(apps: Any, schema_editor: Any) -> None:
    for model, options in POSTGRES_OPTIONS.items():
        table = schema_editor.quote_name(apps.get_model("django_cfg_tasks", model)._meta.db_table)
        listed = ", ".join(f"{name} = {value}" for name, value in options.items())
        schema_editor.execute(f"ALTER TABLE {table} SET ({listed})")


def _no_index_for_like(apps: Any, schema_editor: Any) -> None:
    """Django gives each text that is a key a second index, for LIKE; only schedules are looked for that way."""
    searched = apps.get_model("django_cfg_tasks", "schedule")._meta.db_table
    schema_editor.deferred_sql[:] = [
        statement
        for statement in schema_editor.deferred_sql
        if "_pattern_ops" not in str(statement) or schema_editor.quote_name(searched) in str(statement)
    ]


def _exact_text(apps: Any, schema_editor: Any) -> None:
    """Ids and names that differ in case or blanks differ, and every character can be stored."""
    collation = "utf8mb4_nopad_bin" if schema_editor.connection.mysql_is_mariadb else "utf8mb4_0900_bin"
    for model in apps.get_app_config("django_cfg_tasks").get_models():
        table = schema_editor.quote_name(model._meta.db_table)
        schema_editor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}")
