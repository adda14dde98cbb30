"""When a schedule is due: the same times wherever one starts to look, and each once when clocks change."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from django_cfg import cron
from django_cfg.tasks.cron.due import Cron, Interval, Timing, clock_changes, moment_of, ms_of

SCALE = int(os.environ.get("PROCESS_TEST_SCALE", "1"))
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Antarctica/Troll",
         "America/Santiago", "UTC"]  # fmt: skip


def timing(expression: str, zone: str = "UTC") -> Timing:
    return Timing(Cron(cron.check(expression), cron.zone(zone)))


def at(text: str) -> int:
    """Milliseconds of an ISO moment with its offset, or in UTC."""
    moment = datetime.fromisoformat(text)
    return ms_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def local(expression: str, zone: str, after: str, until: str) -> list[str]:
    """The times between two moments as they are read on the wall, with the offset."""
    found = timing(expression, zone).between(at(after), at(until))
    return [moment_of(ms).astimezone(cron.zone(zone)).strftime("%d %H:%M %z") for ms in found]


# -- the golden table ----------------------------------------------------------------------------------------

NEW_YORK = "America/New_York"


def test_a_fixed_time_inside_the_spring_gap_runs_once_at_its_end() -> None:
    assert local("30 2 * * *", NEW_YORK, "2026-03-07T12:00Z", "2026-03-09T12:00Z") == [
        "08 03:00 -0400",
        "09 02:30 -0400",
    ]


def test_midnight_that_does_not_exist_runs_at_the_end_of_the_gap() -> None:
    found = local("0 0 * * *", "America/Santiago", "2026-09-05T12:00Z", "2026-09-07T12:00Z")
    assert found == ["06 01:00 -0300", "07 00:00 -0300"]


def test_a_fixed_time_that_comes_twice_in_autumn_runs_once() -> None:
    found = local("30 1 * * *", NEW_YORK, "2026-10-31T12:00Z", "2026-11-02T12:00Z")
    assert found == ["01 01:30 -0400", "02 01:30 -0500"]


def test_a_star_follows_the_time_that_really_passes() -> None:
    autumn = local("*/30 * * * *", NEW_YORK, "2026-11-01T04:45Z", "2026-11-01T07:15Z")
    assert autumn == ["01 01:00 -0400", "01 01:30 -0400", "01 01:00 -0500", "01 01:30 -0500", "01 02:00 -0500"]
    spring = local("*/30 * * * *", NEW_YORK, "2026-03-08T06:15Z", "2026-03-08T07:45Z")
    assert spring == ["08 01:30 -0500", "08 03:00 -0400", "08 03:30 -0400"]


def weekdays(expression: str) -> set[str]:
    return {moment_of(ms).strftime("%a") for ms in islice(timing(expression).after(at("2026-06-01")), 60)}


def test_one_to_five_is_monday_to_friday_and_sunday_is_zero_and_seven() -> None:
    assert weekdays("0 9 * * 1-5") == {"Mon", "Tue", "Wed", "Thu", "Fri"}
    assert weekdays("0 0 * * 0") == weekdays("0 0 * * 7") == weekdays("0 0 * * sun") == {"Sun"}


def days(expression: str, month: str, count: int) -> list[int]:
    return [moment_of(ms).day for ms in islice(timing(expression).after(at(month + "-01") - 1), count)]


def test_day_and_weekday_are_or_unless_one_begins_with_a_star() -> None:
    assert days("0 0 13 * 5", "2026-11", 4) == [6, 13, 20, 27]
    assert days("0 0 14 * 5", "2026-11", 5) == [6, 13, 14, 20, 27]
    assert days("0 0 */2 * 1", "2026-11", 3) == [9, 23, 7]  # Mondays with an odd date


def test_last_day_last_weekday_last_and_third_friday() -> None:
    assert days("0 0 L * *", "2026-02", 3) == [28, 31, 30]
    assert days("0 0 LW * *", "2026-02", 3) == [27, 31, 30]
    assert days("0 0 * * 5L", "2026-02", 2) == [27, 27]
    assert days("0 0 * * 5#3", "2026-02", 2) == [20, 20]


# -- laws ----------------------------------------------------------------------------------------------------

EXPRESSIONS = ["30 2 * * *", "*/20 * * * *", "0,30 1,2,3 * * *", "0 0 * * *", "15 */2 * * *", "45 2 * * SUN",
               "0 4 L * *", "59 23 * * 1-5", "* 2 * * *", "0 2,3 * * *", "1-59/7 0-4 * * *"]  # fmt: skip
MOMENTS = st.integers(at("2025-01-01") // 1000, at("2027-01-01") // 1000).map(lambda s: s * 1000)


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), MOMENTS, st.integers(1, 400_000_000))
def test_the_times_do_not_depend_on_where_one_starts_to_look(
    expression: str, zone: str, moment: int, ahead: int
) -> None:
    found = timing(expression, zone)
    whole = list(islice(found.between(moment, moment + 2 * ahead), 500))
    assert whole == sorted(set(whole)) and all(ms > moment for ms in whole)
    later = list(islice(found.between(moment + ahead, moment + 2 * ahead), 500))
    tail = [ms for ms in whole if ms > moment + ahead]
    assert later[: len(tail)] == tail


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_start_around_a_change_of_clocks_gives_the_same_times(expression: str, zone: str) -> None:
    for begin in ("2026-03-07", "2026-03-28", "2026-04-04", "2026-09-26", "2026-10-03", "2026-10-24", "2026-10-31"):
        found = timing(expression, zone)
        start, end = at(begin), at(begin) + 2 * 86_400_000
        whole = list(found.between(start, end))
        for later in range(start, end, 1_860_000):
            assert found.next_after(later) == next((ms for ms in whole if ms > later), found.next_after(end))


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_time_comes_once_a_day_in_every_zone(zone: str) -> None:
    for hour in range(5):
        found = [moment_of(ms).astimezone(cron.zone(zone)).date()
                 for ms in timing(f"30 {hour} * * *", zone).between(at("2026-01-01"), at("2027-01-01"))]  # fmt: skip
        assert len(found) == len(set(found)) == 365


@pytest.mark.parametrize(("expression", "count"), [("* * * * *", 3), ("0 2 * * *", 5), ("0 0 29 2 *", 2)])
def test_the_newest_are_the_end_of_the_whole_list(expression: str, count: int) -> None:
    found, begin, until = timing(expression, "Europe/Berlin"), at("2019-01-01"), at("2026-03-29T12:00")
    if expression == "* * * * *":
        begin = at("2026-03-20")
    assert found.newest(begin, until, count) == list(found.between(begin, until))[-count:]
    assert found.newest(until, until, count) == []
    assert found.newest(begin, until, 0) == []


def test_counting_ends_at_a_bound() -> None:
    assert timing("* * * * *").count_between(at("2020-01-01"), at("2026-01-01"), 1000) == 1000


def test_an_interval_keeps_its_rhythm_whenever_one_looks() -> None:
    every = Timing(Interval(90_000))
    assert list(every.between(0, 270_000)) == [90_000, 180_000, 270_000]
    assert every.next_after(89_999) == 90_000 and every.next_after(90_000) == 180_000
    anchored = Timing(Interval(60_000, anchor_ms=at("2026-01-01") + 7_000))
    assert moment_of(anchored.next_after(at("2026-05-05")) or 0).second == 7


def test_start_and_end_bound_the_times_and_belong_to_them() -> None:
    found = Timing(Interval(1_000), start_ms=5_000, end_ms=7_000)
    assert list(found.after(0)) == [5_000, 6_000, 7_000]
    assert found.next_after(7_000) is None


def test_far_away_there_is_nothing_and_no_error() -> None:
    assert timing("* * * * *").next_after(10**17) is None


# -- clocks that change --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "told"),
    [
        ("30 2 * * *", "Europe/Berlin", [("2026-03-29 02:30", "2026-03-29 03:00")]),
        ("0 2 * * *", "Australia/Lord_Howe", [("2026-10-04 02:00", "2026-10-04 02:30")]),
        ("0 3 * * *", "Pacific/Chatham", [("2026-09-27 03:00", "2026-09-27 03:45")]),
        ("0 2 * * *", "Antarctica/Troll", [("2026-03-29 02:00", "2026-03-29 03:00")]),
        ("0 0 * * *", "America/Santiago", [("2026-09-06 00:00", "2026-09-06 01:00")]),
        ("30 2 * * MON", "Europe/Berlin", []),
        ("*/30 * * * *", "Europe/Berlin", []),
        ("30 2 * * *", "UTC", []),
    ],
)
def test_times_that_do_not_exist_are_told_beforehand(expression: str, zone: str, told: list[tuple[str, str]]) -> None:
    found = clock_changes(Cron(cron.check(expression), cron.zone(zone)), at("2026-01-01"))
    assert [(str(a)[:16], str(b)[:16]) for a, b in found] == told


# -- another library's opinion --------------------------------------------------------------------------------

TERMS = [["0", "*", "*/15", "5,35", "10-20/3", "59"], ["0", "*", "*/6", "9-17", "23", "1,13"],
         ["*", "1", "15", "31", "L", "*/10", "1-7", "29"], ["*", "*", "2", "JAN,JUL", "*/3", "11-12"],
         ["*", "*", "1-5", "SUN", "0", "7", "5#2", "MON,THU", "6"]]  # fmt: skip


def valid(count: int) -> Iterator[str]:
    chance = random.Random(39)
    while count:
        text = " ".join(chance.choice(choices) for choices in TERMS)
        try:
            cron.check(text)
        except cron.CronError:
            continue
        count -= 1
        yield text


def differs_by_rule(expression: str) -> str:
    """Why the two libraries may differ on this expression; empty: they must agree."""
    _, _, day, _, weekday = expression.split()
    if day.startswith("*/") and weekday != "*":
        return "croniter takes a day field like */10 as a restriction and joins it with the weekday by OR"
    if day != "*" and "#" in weekday:
        return "croniter joins a day with the nth weekday by AND, or finds nothing at all"
    return ""


def their_times(expression: str, start: datetime) -> list[datetime]:
    other = croniter(expression, start, max_years_between_matches=50)
    try:
        return [other.get_next(datetime) for _ in range(3)]
    except CroniterBadDateError:
        return []


def test_another_library_agrees_where_the_rules_are_the_same() -> None:
    """In UTC, where no clock changes; 10,000 expressions at the scale of a nightly run."""
    explained = 0
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for expression in valid(500 * SCALE):
        ours = [moment_of(ms) for ms in islice(timing(expression).after(ms_of(start)), 3)]
        theirs = their_times(expression, start)
        if ours != theirs:
            assert differs_by_rule(expression), (expression, ours, theirs)
            explained += 1
    assert explained > 0  # else the explanation is no longer needed


def test_the_explained_difference_is_debians_rule() -> None:
    found = [moment_of(ms) for ms in islice(timing("0 0 */10 * 1").after(at("2026-01-01")), 2)]
    assert all(moment.weekday() == 0 and moment.day in (1, 11, 21, 31) for moment in found)
    assert found[1] - found[0] > timedelta(days=7)
