"""What all our admin pages share: a list by key, a detail, and acts by POST, each with a permission of its own.

They extend the admin's base template and bring one small sheet of style, in the site's own colours, and no script, so
they look as the site's theme does and work under a strict content security policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.http import urlencode

from django_cfg.errors import DjangoCfgError, FilterError
from django_cfg.tasks.audit import Operator

if TYPE_CHECKING:
    ModelPages = admin.ModelAdmin[Any]
else:
    ModelPages = admin.ModelAdmin  # only type checkers may subscript it

PER_PAGE = 50
MOST_SELECTED = 1_000
#: Characters of a value that a table never breaks.
SHORT = 24
APP = "django_cfg_tasks"
#: What is said on the page: a wrong query, a broker or its database that does not answer.
TOLD = (DjangoCfgError, DatabaseError, InterfaceError)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table; a link where there is a page about it; `tone` is "bad" for what needs somebody."""

    text: str
    href: str = ""
    tone: str = ""

    @property
    def is_short(self) -> bool:
        """Whether it stays on one line: a moment in three lines is hard to read."""
        return len(self.text) <= SHORT

    @property
    def classes(self) -> str:
        width = "nowrap" if self.is_short else "long"
        return " ".join(filter(None, (width, self.tone, "" if self.text else "empty")))


@dataclass(frozen=True, slots=True)
class Row:
    """One line; `key` is what an act on it names."""

    key: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list.

    Attributes:
        next: cursor of the page behind; "" at the end.
        note: what the reader must know about what is not shown.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    next: str = ""
    note: str = ""

    @property
    def lines(self) -> list[tuple[str, list[tuple[str, Cell]]]]:
        """Each row with the name of each of its cells, which a narrow screen shows beside it."""
        return [(row.key, list(zip(self.header, row.cells, strict=True))) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Detail:
    """All about one thing: named values, then longer texts under headings of their own."""

    title: str
    values: Sequence[tuple[str, Cell]]
    texts: Sequence[tuple[str, str]] = ()
    acts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """Something an operator can do here.

    Attributes:
        permission: codename; who lacks it neither sees the act nor can do it.
        selected: does it to these keys and returns a sentence about it.
        matching: does it to everything that a query matches; None where that has no meaning.
        asks: ask before it is done.
        meaning: what will become of them, in a sentence; told when it asks.
    """

    label: str
    permission: str
    selected: Callable[[Sequence[str], Operator], str]
    matching: Callable[[str, Operator], str] | None = None
    asks: bool = False
    meaning: str = ""


@dataclass
class Choice:
    """What a POST means."""

    name: str
    act: Act
    keys: list[str] = field(default_factory=list)
    query: str = ""
    is_all: bool = False
    is_confirmed: bool = False


class TaskPages(ModelPages):
    """A list, details and acts. Nothing is added, changed or deleted as an object of the admin."""

    search_help = ""
    shortcuts: Sequence[tuple[str, str]] = ()
    has_details = True
    #: What an act on all that match is done to.
    matching = "all"

    # -- what each page says for itself ----------------------------------------------------------------

    def listing(self, query: str, after: str) -> Listing:
        """One page of what a query chooses."""
        raise NotImplementedError

    def detail(self, key: str) -> Detail | None:
        """All about one; None: there is none."""
        raise NotImplementedError

    def acts(self) -> dict[str, Act]:
        """What can be done, by name."""
        return {}

    def meant(self, query: str) -> Listing:
        """What an act on all that match will be done to."""
        return self.listing(query, "")

    # -- permissions -----------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may(self, request: HttpRequest, act: Act) -> bool:
        return bool(request.user.has_perm(f"{APP}.{act.permission}"))

    def _allowed(self, request: HttpRequest) -> dict[str, Act]:
        return {name: act for name, act in self.acts().items() if self.may(request, act)}

    # -- views -----------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._act(request)
        query, after = request.GET.get("q", ""), request.GET.get("after", "")
        try:
            refuse_unstorable(query, after)
            listing = self.listing(query, after)
        except TOLD as error:
            messages.error(request, str(error))
            listing = Listing((), ())
        return self._render(request, "list", self._list_context(request, query, listing, bool(after)))

    def _list_context(self, request: HttpRequest, query: str, listing: Listing, is_later: bool) -> dict[str, Any]:
        acts = self._allowed(request)
        here = {"q": query} if query else {}
        return {
            "title": str(self.opts.verbose_name_plural).capitalize(),
            "listing": listing,
            "query": query,
            "search_help": self.search_help,
            "shortcuts": [(label, f"?{urlencode({'q': text})}", text == query) for label, text in self.shortcuts],
            "acts": list(acts.items()),
            "bulk": [(name, act) for name, act in acts.items() if act.matching is not None and listing.rows],
            "newest": f"?{urlencode(here)}" if is_later else "",
            "older": f"?{urlencode({**here, 'after': listing.next})}" if listing.next else "",
        }

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        try:
            found = self._found(object_id)
        except TOLD as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(list_url(self.opts.model_name))
        if found is None:
            raise Http404(f"No {self.opts.verbose_name} {object_id!r}.")
        acts = [(name, act) for name, act in self._allowed(request).items() if name in found.acts]
        return self._render(request, "detail", {"title": found.title, "detail": found, "key": object_id, "acts": acts})

    def _found(self, key: str) -> Detail | None:
        """None also for a key that can name nothing."""
        try:
            refuse_unstorable(key)
            return self.detail(key) if self.has_details else None
        except FilterError:
            return None

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        known = {"opts": self.opts, "list_url": list_url(self.opts.model_name), "matching": self.matching}
        return TemplateResponse(
            request,
            f"admin/{APP}/{template}.html",
            {**self.admin_site.each_context(request), **known, **context},
            headers={"Cache-Control": "private, no-store"},
        )

    # -- acting ----------------------------------------------------------------------------------------

    def _act(self, request: HttpRequest) -> HttpResponse:
        choice = self._choice(request)
        by = Operator(request.user.get_username(), "admin")
        try:
            refuse_unstorable(choice.query, *choice.keys)
            if (choice.act.asks or choice.is_all) and not choice.is_confirmed:
                return self._ask(request, choice)
            messages.success(request, self._do(choice, by))
        except TOLD as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(self._back(choice))

    def _choice(self, request: HttpRequest) -> Choice:
        """Checked again here: what the page did not show may still be asked for."""
        name = request.POST.get("act", "")
        act = self.acts().get(name)
        if act is None or not self.may(request, act):
            raise PermissionDenied
        is_all = request.POST.get("scope") == "all"
        if is_all and act.matching is None:
            raise PermissionDenied
        keys = request.POST.getlist("key")[:MOST_SELECTED]
        return Choice(name, act, keys, request.POST.get("q", ""), is_all, "confirmed" in request.POST)

    def _do(self, choice: Choice, by: Operator) -> str:
        if choice.is_all and choice.act.matching is not None:
            return choice.act.matching(choice.query, by)
        if not choice.keys:
            return "Nothing was selected, so nothing was done."
        return choice.act.selected(choice.keys, by)

    def _ask(self, request: HttpRequest, choice: Choice) -> HttpResponse:
        samples, more = list(choice.keys), False
        if choice.is_all:
            found = self.meant(choice.query)
            samples, more = [f"{row.cells[0].text} ({row.key})" for row in found.rows], bool(found.next)
        context = {
            "title": f"{choice.act.label}?",
            "choice": choice,
            "back": self._back(choice),
            "count": f"more than {len(samples)}" if more else str(len(samples)),
            "samples": samples[:5],
        }
        return self._render(request, "confirm", context)

    def _back(self, choice: Choice) -> str:
        url = list_url(self.opts.model_name)
        return f"{url}?{urlencode({'q': choice.query})}" if choice.query else url


def refuse_unstorable(*texts: str) -> None:
    """PostgreSQL refuses a NUL, and with it whatever else stands in the transaction of this request.

    Raises:
        FilterError: there is one.
    """
    if any("\0" in text for text in texts):
        raise FilterError("nothing that is kept here holds a NUL character")


def list_url(model_name: str | None, query: str = "") -> str:
    url = reverse(f"admin:{APP}_{model_name}_changelist")
    return f"{url}?{urlencode({'q': query})}" if query else url


def detail_url(model_name: str, key: str) -> str:
    return reverse(f"admin:{APP}_{model_name}_change", args=[key])


def moment(value: datetime | None) -> str:
    """In the site's time zone and format, with seconds."""
    if value is None:
        return "-"
    return f"{formats.date_format(timezone.localtime(value), 'Y-m-d H:i:s')}"


def pretty(text: str) -> str:
    """JSON with line breaks; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def cells(*values: Any) -> list[Cell]:
    """Plain values as cells; cells stay."""
    return [value if isinstance(value, Cell) else Cell(str(value)) for value in values]
