"""Who is not at the computer is told of a problem once, by a real Apprise over a connection, and of its end."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from exlab_orch import notify
from exlab_orch.errors import NotifyFailed
from exlab_orch.journal import memory_journal
from exlab_orch.model import Problem
from exlab_orch.transports import process
from exlab_orch.transports.process import Ended
from tests.lab import Lab

NOON = datetime(2026, 4, 17, 12, 0, tzinfo=UTC)


@dataclass
class Chat:
    """A server that messages are posted to; paths that begin with /bad are refused."""

    port: int
    said: list[dict[str, str]] = field(default_factory=list)

    def address(self, path: str = "/lab") -> str:
        return f"json://bob:geheim@127.0.0.1:{self.port}{path}"


@pytest.fixture
def chat() -> Iterator[Chat]:
    class Posted(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            is_bad = self.path.startswith("/bad")
            if not is_bad:
                found.said.append(json.loads(content))
            self.send_response(500 if is_bad else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Posted) as server:
        found = Chat(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def told(lab: Lab, chat: Chat) -> Lab:
    """A lab whose problems go to the chat."""
    lab.orchestrator = 'label = "Station 1"'
    lab.equipment += f'\n[notify]\nurls_file = "{lab.root}/notify.urls"\n'
    lab.configure()
    tell(lab, chat.address())
    lab.cli("poll")
    return lab


def tell(lab: Lab, *addresses: str) -> None:
    (lab.root / "notify.urls").write_text("# the lab\n" + "\n".join(addresses) + "\n")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def take_nas_away(lab: Lab) -> None:
    lab.nas.rename(lab.root / "away")


def open_problems(lab: Lab) -> list[str]:
    with lab.station(changing=False) as station:
        return [one.code for one in station.journal.problems(notify.SUBJECT)]


# -- from a pass ---------------------------------------------------------------------------------------------


def test_a_problem_is_told_once_when_it_opens_and_once_when_it_is_solved(told: Lab, chat: Chat) -> None:
    take_nas_away(told)
    told.push()
    told.cli("poll")
    told.cli("poll")
    (opened,) = chat.said
    assert opened["title"].startswith("Station 1: nas:")
    assert "nas_not_mounted" in opened["message"]
    assert "Mount the NAS" in opened["message"]
    (told.root / "away").rename(told.nas)
    told.cli("poll")
    told.cli("poll")
    assert [said["title"].split(": ")[1] for said in chat.said[1:]] == ["Solved"]


def test_a_pass_that_finds_nothing_new_sends_nothing(told: Lab, chat: Chat) -> None:
    told.push()
    told.cli("poll")
    told.cli("poll")
    assert chat.said == []


def test_what_could_not_be_sent_waits_and_is_sent_later(told: Lab, chat: Chat) -> None:
    tell(told, f"json://127.0.0.1:{unused_port()}")
    take_nas_away(told)
    told.push()
    first = told.cli("poll")
    assert "notify_failed" in first.stderr
    assert open_problems(told) == ["notify_failed"]
    tell(told, chat.address())
    with told.station() as station:
        notify.deliver(station)  # 30 s have not gone by
        assert chat.said == []
        station.clock = lambda: datetime.now(UTC) + timedelta(seconds=31)
        notify.deliver(station)
        assert notify.waits(station.journal) == notify.Outbox()
    (said,) = chat.said
    assert "nas_not_mounted" in said["title"]
    assert open_problems(told) == []


def test_one_address_that_fails_does_not_have_the_others_told_again(told: Lab, chat: Chat) -> None:
    tell(told, chat.address("/bad"), chat.address())
    take_nas_away(told)
    told.push()
    assert "Not everybody could be told" in told.cli("poll").stderr
    with told.station() as station:
        station.clock = lambda: datetime.now(UTC) + timedelta(hours=3)
        notify.deliver(station)
    assert len(chat.said) == 1
    assert open_problems(told) == ["notify_failed"]


def test_a_line_that_is_no_address_is_told_although_the_others_work(told: Lab, chat: Chat) -> None:
    tell(told, "nosuchservice://geheim", chat.address())
    take_nas_away(told)
    told.push()
    told.cli("poll")
    assert len(chat.said) == 1
    assert open_problems(told) == ["notify_failed"]


def test_that_no_message_arrives_is_not_told_in_a_message(told: Lab, chat: Chat) -> None:
    tell(told, f"json://127.0.0.1:{unused_port()}")
    take_nas_away(told)
    told.push()
    told.cli("poll")
    with told.station() as station:
        assert [text for text in notify.waits(station.journal).texts if "notify_failed" in text] == []
    assert chat.said == []


def test_a_pass_that_cannot_begin_is_told_once_and_its_end_too(told: Lab, chat: Chat) -> None:
    told.staging.rename(told.root / "disk")
    assert [told.cli("poll").returncode, told.cli("poll").returncode] == [69, 69]
    assert [said["title"] for said in chat.said] == ["Station 1: staging_unavailable"]
    (told.root / "disk").rename(told.staging)
    told.cli("poll")
    assert [said["title"] for said in chat.said[1:]] == ["Station 1: Solved: staging_unavailable"]


def test_what_a_person_meets_is_told_by_the_next_pass(told: Lab, chat: Chat) -> None:
    folder = told.push()
    told.cli("poll")
    (told.published() / "a.fcs").write_bytes(b"bad")
    assert told.cli("clear", "--yes", folder.name).returncode == 5
    assert chat.said == []
    told.cli("poll")
    (said,) = chat.said
    assert "nas_copy_damaged" in said["message"]


def test_two_passes_at_once_send_a_message_once(told: Lab, chat: Chat) -> None:
    with told.station() as station:
        notify.keep(station.journal, "something")

    def deliver(_: int) -> None:
        with told.station() as station:
            notify.deliver(station)

    with ThreadPoolExecutor(4) as several:
        list(several.map(deliver, range(4)))
    assert [said["title"] for said in chat.said] == ["Station 1: something"]


def test_nothing_is_started_where_nobody_is_to_be_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(notify, "run_tool", started)
    with lab.station() as station:
        notify.keep(station.journal, "something")
        notify.deliver(station)


def test_a_name_from_outside_is_escaped_in_a_message(told: Lab, chat: Chat) -> None:
    (told.staging / "FLOW_01").mkdir()
    (told.staging / "FLOW_01/\x1b[31mred\u202e").touch()
    told.cli("poll")
    (said,) = chat.said
    assert "not_a_run" in said["message"]
    assert not {"\x1b", "\u202e"} & {*said["message"], *said["title"]}


# -- the outbox ----------------------------------------------------------------------------------------------


def test_at_most_a_hundred_texts_wait_the_newest_of_them() -> None:
    with memory_journal() as journal:
        for number in range(103):
            notify.keep(journal, str(number))
        texts = notify.waits(journal).texts
    assert (len(texts), texts[0], texts[-1]) == (100, "3", "102")


@pytest.mark.parametrize("garbage", ["{", "[]", '{"texts": 3}', '{"attempts": "many"}', "null"])
def test_an_outbox_that_cannot_be_read_is_empty(garbage: str) -> None:
    with memory_journal() as journal:
        journal.set_note("notify", garbage)
        assert notify.waits(journal) == notify.Outbox()


def test_a_title_is_the_first_line_and_says_how_much_more_there_is() -> None:
    assert notify.title_of(("one\nmore",)) == "one"
    assert notify.title_of(("one\nmore", "two", "three")) == "one (and 2 more)"


# -- secrets, and programs that do not do as they should ------------------------------------------------------


def test_no_address_shows_in_what_is_said_or_logged(told: Lab) -> None:
    tell(told, f"json://bob:geheim@127.0.0.1:{unused_port()}", "mailto//bob:geheim@lab.example")
    told.push()
    take_nas_away(told)
    found = told.cli("poll").stderr + told.cli("notify", "test").stderr + told.cli("status", "--json").stdout
    found += (told.state / "exlab-orch.log").read_text()
    assert "notify_failed" in found
    assert "geheim" not in found


def test_complaints_lose_time_level_addresses_and_the_words_about_usage() -> None:
    output = b"2026-11-27 14:02:09,060 - ERROR - Unparseable URL mailto//me:pw@x - y\nTry 'apprise --help' for more.\n"
    assert notify.said_by(Ended(1, output, ()), ["mailto//me:pw@x - y", ""]) == "Unparseable URL …"


def test_a_server_that_never_answers_is_given_up(told: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_STALL_SECONDS", 1.5)
    config = told.config
    assert config.notify is not None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tell(told, f"json://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NotifyFailed, match="not done after"):
            notify.send(config, config.notify, "title", "body")


def test_without_apprise_the_message_says_how_to_install_it(told: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", f"{told.root}/python")
    monkeypatch.setattr(process, "PLACES", f"{told.root}")
    with pytest.raises(NotifyFailed, match="not installed") as caught:
        notify.installed_apprise()
    assert "pip install 'exlab-orch[notify]'" in caught.value.hint


# -- the verb ------------------------------------------------------------------------------------------------


def test_notify_test_sends_a_message_and_ends_the_problem(told: Lab, chat: Chat) -> None:
    with told.station() as station:
        station.set_problems(notify.SUBJECT, notify.SUBJECT, [Problem(notify.SUBJECT, "notify_failed", "m", NOON)])
    done = told.cli("notify", "test")
    assert (done.returncode, done.stderr.startswith("A test message went to every address in ")) == (0, True)
    assert [said["title"] for said in chat.said] == ["Station 1: test"]
    assert open_problems(told) == []


def test_notify_test_as_a_rehearsal_sends_nothing(told: Lab, chat: Chat) -> None:
    done = told.cli("notify", "test", "--dry-run")
    assert (done.returncode, done.stderr.startswith("Dry run, nothing was sent.")) == (0, True)
    assert chat.said == []


def test_notify_test_that_reaches_nobody_ends_with_69_and_says_what_to_do(told: Lab, chat: Chat) -> None:
    tell(told, chat.address("/bad"))
    failed = told.cli("notify", "test", "--json")
    said = json.loads(failed.stderr)
    assert (failed.returncode, said["code"]) == (69, "notify_failed")
    assert "exlab-orch notify test" in said["hint"]


@pytest.mark.parametrize("missing", ["table", "file"])
def test_notify_test_says_what_is_missing(lab: Lab, missing: str) -> None:
    if missing == "file":
        lab.equipment += f'\n[notify]\nurls_file = "{lab.root}/notify.urls"\n'
        lab.configure()
    failed = lab.cli("notify", "test")
    assert (failed.returncode, "[notify]" in failed.stderr) == ((78, True) if missing == "table" else (69, False))


def test_the_units_have_a_network_where_somebody_is_to_be_told(told: Lab) -> None:
    units = told.cli("schedule", "systemd").stdout
    assert "PrivateNetwork=yes" not in units
    assert "AF_INET" in units
