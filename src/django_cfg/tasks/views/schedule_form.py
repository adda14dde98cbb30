"""The form of one schedule: the keys of an entry, checked as everywhere."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from django_cfg import cron as crontab
from django_cfg.errors import CronError
from django_cfg.tasks import queries
from django_cfg.tasks.cron import store
from django_cfg.tasks.cron.declared import make_tasks_known
from django_cfg.tasks.cron.entry import Entry, read
from django_cfg.tasks.models import Schedule
from django_cfg.tasks.models.schedule import Source

if TYPE_CHECKING:
    Form = forms.ModelForm[Schedule]
else:
    Form = forms.ModelForm  # only type checkers may subscript it

KEYS = [f.name for f in fields(Entry)]
DEFAULTS = {f.name: f.default for f in fields(Entry)}


def _choices(words: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(word, word.replace("_", " ")) for word in words]


class ScheduleForm(Form):
    """What an operator may write."""

    name = forms.CharField(max_length=200, required=False, help_text="The task's name if empty.")
    actor_name = forms.CharField(max_length=255, label="Task")
    cron = forms.CharField(max_length=200, required=False, help_text="Five fields, minute first, or like @daily.")
    every_s = forms.FloatField(required=False, label="Every", help_text="Seconds, in the place of cron.")
    timezone = forms.CharField(max_length=100, initial="UTC", help_text="Whose clocks cron means, like Europe/Paris.")
    args = forms.JSONField(required=False, initial=list)
    kwargs = forms.JSONField(required=False, initial=dict)
    queue = forms.CharField(max_length=200, required=False, help_text="The task's own if empty.")
    enabled = forms.BooleanField(required=False, initial=True)
    missed = forms.ChoiceField(choices=_choices(crontab.MISSED), initial=DEFAULTS["missed"])
    missed_limit = forms.IntegerField(initial=DEFAULTS["missed_limit"])
    missed_window_s = forms.FloatField(initial=DEFAULTS["missed_window_s"])
    overlap = forms.ChoiceField(choices=_choices(crontab.OVERLAP), initial=DEFAULTS["overlap"])
    jitter_s = forms.FloatField(initial=DEFAULTS["jitter_s"])
    start = forms.CharField(max_length=40, required=False, help_text="Like 2027-01-01T00:00+01:00.")
    end = forms.CharField(max_length=40, required=False)
    ping_url = forms.CharField(max_length=500, required=False, widget=forms.PasswordInput(render_value=True))
    description = forms.CharField(max_length=1000, required=False, widget=forms.Textarea(attrs={"rows": 2}))

    class Meta:
        model = Schedule
        fields: tuple[str, ...] = ()

    #: What the code or the row says now; set by the page.
    now: Entry | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.now is not None:
            self.initial = {key: getattr(self.now, key) for key in KEYS}
            self.initial["args"] = list(self.now.args)
            self.fields["name"].disabled = True

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if self.errors:
            return given
        written = {key: given[key] for key in KEYS if given.get(key) not in ("", None)}
        try:
            self.entry = read({"args": [], "kwargs": {}, **written}, "This schedule")
            if self.instance.pk is None:
                refuse_taken(self.entry.name)
            if self.now is None or self.now.actor_name != self.entry.actor_name:
                refuse_unknown_task(self.entry.actor_name)
        except CronError as error:
            raise ValidationError(str(error)) from None
        return given

    def _post_clean(self) -> None:
        """Nothing goes from here into the row; the page calls an action."""


def refuse_taken(name: str) -> None:
    """What is added replaces nothing; the name of an entry is its task's where none is written.

    Raises:
        CronError: the code or an operator has a schedule of this name.
    """
    rows = Schedule.objects.using(store.alias_of(queries.broker()))
    if name in queries.code_schedules() or rows.filter(name=name, source=Source.ADMIN).exists():
        raise CronError(f"a schedule is named {name!r} already; change that one, or write another name")


def refuse_unknown_task(name: str) -> None:
    """A tick of it would only become a dead letter.

    Raises:
        CronError: no task module declares it; names the nearest.
    """
    make_tasks_known()
    if queries.actor(name) is None:
        known = queries.broker().actors
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"declared: {', '.join(sorted(known)) or 'none'}"
        raise CronError(f"no task is named {name!r}; {hint}")
