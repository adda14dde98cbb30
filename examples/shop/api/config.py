"""The whole configuration of the sample project, typed and checked before Django starts."""

from __future__ import annotations

from typing import Any

from api.environment import env
from django_cfg import CacheConfig, DatabaseConfig, DjangoConfig, EmailConfig
from django_cfg.models.tasks import CronJob, DramatiqConfig, TaskConfig


class ShopConfig(DjangoConfig):
    """A shop with a knowledge base, on SQLite unless SHOP_BROKER_URL names another broker."""

    project_name: str = "Shop"
    debug: bool = True  # a sample on a laptop; a production configuration sets False and its own secret_key
    secret_key: str = "only-for-the-sample-project-never-use-it-on-a-server-0123456789"
    allowed_hosts: list[str] = ["localhost", "127.0.0.1"]
    installed_apps: list[str] = ["django_cfg.apps.accounts", "apps.shop", "apps.knowbase"]
    root_urlconf: str = "api.urls"
    databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig(name=str(env.state_dir / "shop.sqlite3"))}
    cache_default: CacheConfig = CacheConfig()
    email: EmailConfig = EmailConfig(
        backend="file", file_path=str(env.mail_dir), default_from_email="shop@shop.example"
    )
    tasks: TaskConfig = TaskConfig(
        broker_url=env.broker_url,
        schedules=[
            CronJob(actor_name="cleanup_old_data", cron="0 2 * * *", description="Daily at 02:00."),
            CronJob(actor_name="send_daily_report", cron="0 9 * * 1-5", description="Weekdays at 09:00."),
            CronJob(actor_name="cleanup_expired_sessions", cron="0 0 * * 0", description="Sundays at midnight."),
        ],
        dramatiq=DramatiqConfig(
            processes=2,
            threads=4,
            admin_enabled=True,  # every task is recorded, which the tables of the demo are read from
            redis_key_prefix="shop-demo",  # so that a flush before the demo touches nobody else's keys
        ),
    )
    extra_settings: dict[str, Any] = {
        "MEDIA_ROOT": str(env.media_dir),
        "MEDIA_URL": "/media/",
        "KNOWBASE_EMBEDDER": env.embedder,
    }


config = ShopConfig()
