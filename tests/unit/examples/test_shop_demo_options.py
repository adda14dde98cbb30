"""The demo's command line and its own directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from showcase.options import read_options
from showcase.state import StateError, prepare

DEFAULTS = read_options([])


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Set by `prepare`; named here so that the fixture takes them back.
    for name in ("DJANGO_SETTINGS_MODULE", "SHOP_MAIL_DIR", "SHOP_BROKER_URL", "SHOP_EMBEDDER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("SHOP_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_docs_may_be_given_several_times(tmp_path: Path) -> None:
    options = read_options(["--docs", str(tmp_path), "--docs", str(tmp_path)])

    assert options.docs == (tmp_path.resolve(), tmp_path.resolve())


@pytest.mark.parametrize("wrong", [["--docs", "/no/such/folder"], ["--processes", "0"], ["--threads", "x"]])
def test_wrong_option_ends_with_its_name(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_second_start_finds_a_clean_state(state: Path) -> None:
    prepare(DEFAULTS).close()
    (state / "shop.sqlite3").touch()
    prepare(DEFAULTS).close()

    assert not (state / "shop.sqlite3").exists()
    assert (state / "mail").is_dir()


def test_keep_goes_on_with_the_old_state(state: Path) -> None:
    prepare(DEFAULTS).close()
    (state / "shop.sqlite3").touch()
    prepare(dataclasses.replace(DEFAULTS, keep=True)).close()

    assert (state / "shop.sqlite3").exists()


def test_directory_with_other_files_is_left_alone(state: Path) -> None:
    state.mkdir()
    (state / "thesis.txt").touch()

    with pytest.raises(StateError, match="not the demo's"):
        prepare(DEFAULTS)
    assert (state / "thesis.txt").exists()


def test_two_demos_do_not_share_a_directory(state: Path) -> None:
    with prepare(DEFAULTS), pytest.raises(StateError, match="another demo is running"):
        prepare(DEFAULTS)
