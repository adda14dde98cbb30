"""One-time passwords of users: a table to issue from and to clean up."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class OTPSecret(models.Model):
    """A secret that was issued to a user for one log-in."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="otp_secrets")
    secret = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = "one-time password"

    def __str__(self) -> str:
        # Never the secret: this text shows up in admin pages and logs.
        return f"one-time password of user {self.user_id}, issued {self.created_at:%Y-%m-%d %H:%M}"
