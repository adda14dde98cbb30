"""Groups of tasks that have completion callbacks."""

from __future__ import annotations

from django.db import models


class TaskGroup(models.Model):
    """A group that is not complete, or was a moment ago. `closer` is the member that arrived last."""

    group_id = models.CharField(max_length=64, primary_key=True)
    size = models.IntegerField()
    arrived = models.IntegerField(default=0)
    closer = models.CharField(max_length=64, default="")
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.group_id} {self.arrived}/{self.size}"


class GroupMember(models.Model):
    """A member that succeeded; a second run of it changes nothing."""

    id = models.BigAutoField(primary_key=True)
    group = models.ForeignKey(TaskGroup, on_delete=models.CASCADE)
    message_id = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "message_id"], name="dcfg_member_once")]

    def __str__(self) -> str:
        return self.message_id
