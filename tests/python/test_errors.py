"""The last error, codes in words, and the log."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import Any, Iterator

import pytest

import memfabric_hybrid as mf
from memfabric_hybrid import bm
from rank import Rank, free_url

INVALID = mf.ErrorCode.INVALID_PARAM


def fail() -> None:
    assert mf.create_config_store("nonsense://x") == INVALID


def test_there_is_no_error_at_first() -> None:
    assert mf.get_last_err_msg() == ""
    assert mf.get_and_clear_last_err_msg() == ""


def test_an_error_stays_until_it_is_cleared() -> None:
    fail()
    message = mf.get_last_err_msg()
    assert "nonsense" in message
    assert mf.set_log_level(3) == 0
    assert mf.get_last_err_msg() == message
    assert mf.get_and_clear_last_err_msg() == message
    assert mf.get_last_err_msg() == ""


def test_an_error_is_its_threads_own() -> None:
    fail()
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(mf.get_last_err_msg()))
    thread.start()
    thread.join()
    assert seen == [""]
    assert mf.get_last_err_msg() != ""


@pytest.mark.parametrize("code", list(mf.ErrorCode))
def test_strerror_names_each_code(code: mf.ErrorCode) -> None:
    assert code.name in mf.strerror(code)


def test_strerror_of_any_int() -> None:
    for code in (1, -2013, 12345, -(1 << 80), 1 << 80):
        assert isinstance(mf.strerror(code), str)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:x",
        "udp://127.0.0.1:1",
        "127.0.0.1:80",
        "tcp://a b:80",
        "tcp://127.0.0.1:1\0",
        "tcp://[::1:80",
    ],
)
def test_urls_that_are_none(url: str, fresh: Rank) -> None:
    assert mf.create_config_store(url) == INVALID
    assert mf.get_last_err_msg() != ""
    assert fresh(f"init({url!r}, 1, 0)") == INVALID
    assert fresh("mf.get_last_err_msg()") != ""


def test_store(job: str) -> None:
    url = free_url()
    assert mf.create_config_store(url) == 0, mf.get_last_err_msg()
    assert mf.create_config_store(url) == 0


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        assert mf.create_config_store(url) == mf.ErrorCode.RESOURCE_IN_USE
        assert url in mf.get_last_err_msg()


@pytest.mark.parametrize("level", [-1, 5, 1 << 40, -(1 << 40)])
def test_log_levels_that_are_none(level: int) -> None:
    assert mf.set_log_level(level) == INVALID
    assert str(level) in mf.get_last_err_msg()


@pytest.fixture
def debug_log() -> Iterator[None]:
    assert mf.set_log_level(0) == 0
    yield
    assert mf.set_extern_logger(None) == 0
    assert mf.set_log_level(3) == 0


def log_something() -> None:
    """Makes a pool and destroys it, which the library logs at level debug or info."""
    pool = bm.create(9, 2 << 20)
    pool.join()
    pool.destroy()


def test_the_log_goes_to_the_logger(
    job: str, debug_log: None, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[tuple[int, str]] = []
    assert mf.set_extern_logger(lambda level, message: lines.append((level, message))) == 0
    log_something()
    assert lines and all(level in (0, 1, 2, 3) and message for level, message in lines)
    assert capfd.readouterr().err == ""
    assert mf.set_extern_logger(None) == 0
    count = len(lines)
    log_something()
    assert len(lines) == count
    assert capfd.readouterr().err != ""


def test_a_logger_that_raises_is_reported_once(
    job: str, debug_log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    calls: list[int] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))

    def raising(level: int, message: str) -> None:
        calls.append(level)
        raise LookupError(message)

    assert mf.set_extern_logger(raising) == 0
    log_something()
    log_something()
    assert mf.set_extern_logger(None) == 0
    assert len(calls) > 1
    assert reported == [LookupError]


def test_a_logger_may_call_the_library(job: str, debug_log: None) -> None:
    seen: list[int] = []

    def calling(level: int, message: str) -> None:
        seen.append(bm.bm_rank_id())
        fail()

    assert mf.set_extern_logger(calling) == 0
    log_something()
    assert mf.set_extern_logger(None) == 0
    assert seen and set(seen) == {0}


@pytest.mark.parametrize(
    ("variables", "level"),
    [
        ({}, 3),
        ({"ASCEND_MF_LOG_LEVEL": "0"}, 0),
        ({"MF_LOG_LEVEL": "0"}, 0),
        ({"ASCEND_MF_LOG_LEVEL": "0", "MEMFABRIC_LOG_LEVEL": "4"}, 4),
    ],
)
def test_the_environment_sets_the_level(variables: dict[str, str], level: int) -> None:
    names = ("MEMFABRIC_LOG_LEVEL", "ASCEND_MF_LOG_LEVEL", "MF_LOG_LEVEL")
    environment = {
        name: value for name, value in os.environ.items() if name not in names
    } | variables
    program = (
        f"import memfabric_hybrid as mf; mf.bm.initialize('{free_url()}', 1, 0, "
        "mf.bm.BmConfig()); mf.bm.create(0, 2 << 20).join()"
    )
    errors = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stderr
    assert (errors != "") == (level == 0), errors
