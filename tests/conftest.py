"""Fixtures and options for all tests: a fresh laboratory, and how thorough the run is."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from exlab_orch.space import Space
from tests.lab import Lab


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="everything, also what takes many minutes or hours")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Workers that have nothing left take tests of the others: the last files are full of slow ones."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    os.environ["TZ"] = "UTC"  # what people read is in the time of this computer, wherever that is
    time.tzset()
    if config.getoption("--exhaustive"):
        config.option.markexpr = ""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:  # in the background: programs of tests hear them again
            signal.signal(number, lambda _number, _where: None)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The staging disk of tests in this process has room: what else fills this computer's disk is no news of theirs."""
    monkeypatch.setattr("exlab_orch.making_room.staging_space", lambda root: Space(1 << 40, 1 << 39))
