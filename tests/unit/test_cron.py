"""Cron expressions: what is accepted means what Debian's cron means; what is refused names field, part and range."""

from __future__ import annotations

import os
import random
import time

import pytest

from django_cfg import cron
from django_cfg.errors import ConfigurationError, CronError

#: A nightly run may take 20: then the corpus has 100,000 expressions.
SCALE = int(os.environ.get("PROCESS_TEST_SCALE", "1"))


def refusal(text: str) -> str:
    with pytest.raises(CronError) as caught:
        cron.check(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("0 2 * * *", "0 2 * * *"),
        ("  0\t9 *  * 1-5 ", "0 9 * * 1-5"),
        ("0 0 * * 0", "0 0 * * 0"),
        ("0 0 * * 7", "0 0 * * 7"),
        ("*/15 * * * *", "*/15 * * * *"),
        ("0 9 * jan-Mar mon,WED", "0 9 * JAN-MAR MON,WED"),
        ("5/15 * * * *", "5/15 * * * *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 LW * *", "0 0 LW * *"),
        ("0 0 * * 5L", "0 0 * * 5L"),
        ("0 0 * * 5#3", "0 0 * * 5#3"),
        ("0 0 13 * 5", "0 0 13 * 5"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 * 2 MON#5", "0 0 * 2 MON#5"),
        ("@daily", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
    ],
)
def test_what_is_accepted_has_one_normal_form(written: str, normal: str) -> None:
    assert cron.check(written) == normal


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("61 * * * *", "field 1 (minute) has '61'; allowed: 0–59"),
        ("0 24 * * *", "field 2 (hour) has '24'; allowed: 0–23"),
        ("0 0 0 * *", "field 3 (day of month) has '0'; allowed: 1–31"),
        ("0 0 * 13 *", "field 4 (month) has '13'; allowed: 1–12 or JAN–DEC"),
        ("0 0 * * 8", "field 5 (day of week) has '8'; allowed: 0–7 or SUN–SAT"),
        ("0 0 * * MOM", "field 5 (day of week) has 'MOM'; allowed: 0–7 or SUN–SAT"),
        ("*/0 * * * *", "field 1 (minute) has the step '0'; allowed: 1–60"),
        ("*/90 * * * *", "field 1 (minute) has the step '90'; allowed: 1–60"),
        ("0 5-1 * * *", "field 2 (hour) has '5-1', which runs backwards; write 5-23,0-1"),
        ("0 0 * * FRI-MON", "has 'FRI-MON', which runs backwards; write FRI-SAT,SUN-MON"),
        ("0 0 15W * *", "has '15W'; of these forms only L (last day) and LW (last weekday) exist"),
        ("0 0 * * FRIL", "has 'FRIL'; write the number of the day before L, like 5L for the last Friday"),
        ("0 0 * * 5#6", "has '5#6'; after # stands which of the month, 1–5"),
        ("0 0 ? * *", "has '?', which is of another cron; write *"),
        ("0,,5 * * * *", "field 1 (minute) has an empty part; allowed: 0–59"),
        ("٣ * * * *", "field 1 (minute) has '٣'; allowed: 0–59"),
        ("* * * *", "has 4 fields instead of 5: minute, hour, day of month, month, day of week"),
        ("", "has 0 fields instead of 5"),
        ("0 * * * * *", "has 6 fields; seconds are not supported: write five fields, or an interval"),
        ("0 0 30 2 *", "never fires: no such month has a day 30 (month 2)"),
        ("0 0 31 2,4,6 *", "never fires: no such month has a day 31 (month 2,4,6)"),
        ("0 0 */20 * 5#5", "never fires: day of month */20 and day of week 5#5 never fall together (month *)"),
        ("@dayly", "cron '@dayly' is no known alias; did you mean @daily?"),
        ("@sometimes", "cron '@sometimes' is no known alias; known: @hourly, @daily"),
        ("@reboot", "a fleet has no single start"),
        ("0-59," * 100 + "1 * * * *", "is longer than 200 characters"),
    ],
)
def test_what_is_refused_says_field_part_and_range(written: str, complaint: str) -> None:
    assert complaint in refusal(written)


def test_a_refusal_is_a_configuration_error() -> None:
    assert issubclass(CronError, ConfigurationError)


def test_a_long_text_is_not_repeated() -> None:
    assert len(refusal("x" * 190 + " * * * *")) < 300


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EST5", "an abbreviation does not say when clocks change; write a name like 'America/New_York' or 'UTC'"),
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("../../etc/passwd", "write a name like 'Europe/Berlin' or 'UTC'"),
        ("", "write a name like"),
        ("Europe", "timezone"),
        ("right/UTC", "timezone"),
        ("localtime", "timezone"),
    ],
)
def test_an_unknown_zone_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(CronError) as caught:
        cron.zone(name)
    assert hint in str(caught.value) and "is unknown" in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "words"),
    [("0 9 * * 1-5", "At 09:00 on Monday through Friday"), ("*/15 * * * *", "Every 15th minute"), ("@daily", "00:00")],
)
def test_an_expression_can_be_said_in_words(expression: str, words: str) -> None:
    assert words in cron.words_for(cron.check(expression))


PIECES = ["*", "?", "L", "W", "LW", "#", "/", "-", ",", "@daily", "0", "5", "7", "12", "29", "30", "31", "59", "60",
          "99999999999", "1-5", "*/7", "*/1", "5#5", "5L", "MON", "sun", "FEB", "JAN-MAR", "٣", "²", "\0", "é", "", " ",
          "1-31/3", "0-59/1", "2#1,3#2", "𝟝", "-1", "1e3", "0x1", "L-3", "*,*", "1,2,3,4,5,6,7,8,9"]  # fmt: skip
GOOD = [["0", "*", "5,35", "*/7", "59"], ["0", "*", "23", "*/5", "2-4"], ["*", "1", "31", "L", "LW", "*/20", "29"],
        ["*", "2", "2,4", "JAN", "*/3"], ["*", "5#5", "5L", "MON", "0-7", "1,3", "6#1"]]  # fmt: skip


def corpus(count: int) -> list[str]:
    """Rubbish, texts near the grammar, and combinations that are right or never fire. The same ones in each run."""
    chance = random.Random(32)
    made = []
    for _ in range(count // 3):
        made.append("".join(chr(chance.choice((*range(32, 127), 0x2028, 0x660))) for _ in range(chance.randrange(40))))
        made.append(" ".join("".join(chance.choices(PIECES, k=chance.randrange(1, 4))) for _ in range(5)))
        made.append(" ".join(chance.choice(choices) for choices in GOOD))
    return made


def test_whatever_is_written_only_our_error_comes_out_and_soon() -> None:
    """Processor time of this thread, so that other processes on the machine do not count."""
    worst_s = 0.0
    for text in corpus(5_000 * SCALE):
        began = time.thread_time()
        try:
            cron.words_for(cron.check(text))
        except CronError:
            pass
        worst_s = max(worst_s, time.thread_time() - began)
    assert worst_s < 0.05
