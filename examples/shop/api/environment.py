"""What the sample project takes from environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent
REPOSITORY_DIR = PROJECT_DIR.parent.parent


@dataclass(frozen=True)
class Environment:
    """Places and addresses; every one has a default, so that the project runs with no variable set."""

    state_dir: Path
    mail_dir: Path
    broker_url: str
    embedder: str

    @property
    def media_dir(self) -> Path:
        return self.state_dir / "media"


def read_environment() -> Environment:
    """Read SHOP_STATE_DIR, SHOP_MAIL_DIR, SHOP_BROKER_URL and SHOP_EMBEDDER ("hashing" or "sentence")."""
    state_dir = Path(os.environ.get("SHOP_STATE_DIR") or REPOSITORY_DIR / ".demo").resolve()
    return Environment(
        state_dir=state_dir,
        mail_dir=Path(os.environ.get("SHOP_MAIL_DIR") or state_dir / "mail").resolve(),
        broker_url=os.environ.get("SHOP_BROKER_URL") or "database://default",
        embedder=os.environ.get("SHOP_EMBEDDER") or "hashing",
    )


env = read_environment()
