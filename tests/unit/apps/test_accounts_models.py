"""The table of one-time passwords."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from django_cfg.apps.accounts.models import OTPSecret


@pytest.mark.django_db
def test_old_secrets_are_found_by_age() -> None:
    user = get_user_model().objects.create_user("ann")
    old = OTPSecret.objects.create(user=user, secret="1", created_at=timezone.now() - timedelta(hours=2))
    OTPSecret.objects.create(user=user, secret="2")

    assert list(OTPSecret.objects.filter(created_at__lt=timezone.now() - timedelta(hours=1))) == [old]


@pytest.mark.django_db
def test_text_of_a_secret_does_not_show_it() -> None:
    user = get_user_model().objects.create_user("ann")

    assert "hunter2" not in str(OTPSecret.objects.create(user=user, secret="hunter2"))
