"""Every how-to is tried: its commands in a laboratory with the same folders, and what it says that one sees."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest

from exlab_orch.cli import program
from exlab_orch.cli.call import Call
from exlab_orch.cli.frame import run
from exlab_orch.config import CONFIG_VARIABLE, load_config
from exlab_orch.demo.story import damage

ROOT = Path(__file__).parents[1]
HOWTOS = sorted((ROOT / "docs/howto").glob("*.md"))
RUN = "CONFOCAL_01/PROJ-0001/Runs/Run_2026-04-17T14-32"
NEXT = "CONFOCAL_01/PROJ-0001/Runs/Run_2026-04-18T09-10"
BLOCK = re.compile(r"^<!-- (try|shows)(?:: exit (\d+))? -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""``<!-- try -->``: these commands are run; ``<!-- shows -->``: they say this, ``…`` standing for anything."""

CONFIGURATION = """\
[orchestrator]
staging_root = "/srv/staging"
state_dir = "/var/lib/exlab-orch"

[nas]
root = "/mnt/nas/lab"
marker_id = ""
require_mount = false
reserve_percent = 0

[[equipment]]
id = "CONFOCAL_01"
completeness_signal = "sentinel_file"
sentinel_filename = "run_complete"
settle_seconds = 0
"""


@dataclass
class House:
    """A computer in a folder: the paths of the how-tos, below a root of its own."""

    root: Path
    said: list[str] = field(default_factory=list)
    status: int = 0

    def __post_init__(self) -> None:
        for folder in ("srv/staging", "mnt/nas/lab", "mnt/nas/new", "etc/exlab-orch", "etc/cron.d", "root", "backup"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "etc/cron.d/exlab-orch").write_text("# a schedule\n")
        self.config = self.root / "etc/exlab-orch/config.toml"

    def here(self, text: str) -> str:
        """The text with its absolute paths below our root."""
        return re.sub(r"(?<![\w/.…])/(?=(?:srv|mnt|etc|var|root|backup)\b(?!/os-release))", f"{self.root}/", text)

    def set_up(self) -> None:
        self.config.write_text(self.here(CONFIGURATION))
        self.do("exlab-orch nas-init")

    def push(self, run_path: str = RUN, *, done: bool = True) -> Path:
        folder = self.root / "srv/staging" / run_path
        folder.mkdir(parents=True)
        (folder / "image_1.tif").write_bytes(b"first image")
        (folder / "image_2.tif").write_bytes(b"second image")
        if done:
            (folder / "run_complete").touch()
        return folder

    # -- commands --------------------------------------------------------------------------------------------

    def do(self, line: str) -> None:
        """One line of a how-to, as its reader would type it; there is no sudo here, and no waiting."""
        line = re.sub(r"\bsudo (?:-u [\w-]+ )?| -o exlab-orch -g exlab-orch", "", self.here(line))
        if line.startswith("sleep "):
            self._wait_for_nothing()
        elif line.startswith("exlab-orch ") and not set("|&;<>$") & set(line):
            self._verb(shlex.split(line)[1:])
        else:
            done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, check=False, timeout=20)
            self._heard(done.returncode, done.stdout + done.stderr)

    def _wait_for_nothing(self) -> None:
        """What two minutes would do, without them."""
        given = re.sub(r"^settle_seconds = .*\n", "", self.config.read_text(), flags=re.MULTILINE)
        waited = re.sub(r"^\[\[equipment\]\]\n", r"\g<0>settle_seconds = 0\n", given, flags=re.MULTILINE)
        self.config.write_text(waited)

    def _verb(self, words: Sequence[str]) -> None:
        """A verb in this process, with nothing of a terminal."""
        more = ["--no-require-mount"] if words[0] == "init" else []
        with redirect_stdout(StringIO()) as out, redirect_stderr(out):
            status = run(program, [*words, *more], Call())
        self._heard(status, out.getvalue())

    def _heard(self, status: int, words: str) -> None:
        self.said += words.splitlines()
        self.status = status

    def saw(self, line: str) -> bool:
        """Whether one of the lines since the last block is this one."""
        pattern = ".*".join(map(re.escape, self.here(line.strip()).split("…")))
        return any(re.fullmatch(pattern, said.strip()) for said in self.said)


def proved(house: House) -> None:
    """Two runs are on the NAS, checked."""
    house.set_up()
    house.push(RUN)
    house.push(NEXT)
    house.do("exlab-orch poll")


def one_cleared(house: House) -> None:
    """One run is on the NAS only, another one is staged as well."""
    proved(house)
    house.do(f"exlab-orch clear --yes {RUN}")


def damaged(house: House) -> None:
    """A byte of a proved run has changed on the NAS."""
    proved(house)
    damage(str(house.root / "mnt/nas/lab" / RUN))


def crashed(house: House) -> None:
    """The instrument's software crashed before it said that the run is done, and another run is held."""
    proved(house)
    house.push("CONFOCAL_01/PROJ-0001/Runs/Run_2026-04-19T08-00", done=False)
    house.do("exlab-orch poll")
    house.do(f"exlab-orch hold {NEXT} --reason reanalysis")


SITUATIONS: dict[str, Callable[[House], None]] = {
    "first-set-up": lambda house: None,
    "new-equipment": House.set_up,
    "nas-moved": one_cleared,
    "disk-full": proved,
    "will-not-clear": crashed,
    "damaged-nas-copy": damaged,
    "lost-journal": one_cleared,
    "new-computer": one_cleared,
    "upgrade": proved,
    "removal": one_cleared,
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The computer; verbs find its configuration."""
    house, hook = House(tmp_path), sys.excepthook
    monkeypatch.setenv(CONFIG_VARIABLE, str(house.config))
    yield house
    sys.excepthook = hook


def blocks(page: Path) -> list[tuple[str, int, list[str]]]:
    return [(kind, int(status or 0), text.splitlines()) for kind, status, text in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_a_how_to_does_what_it_says(page: Path, house: House) -> None:
    SITUATIONS[page.stem](house)
    for kind, status, lines in blocks(page):
        if kind == "try":
            house.said.clear()
            *first, last = _joined(lines)
            for line in first:
                house.do(line)
                assert house.status == 0, (line, house.said)
            house.do(last)
            assert house.status == status, (last, house.said)
        else:
            for line in lines:
                assert house.saw(line), f"{page.name} shows {line!r}; it was:\n" + "\n".join(house.said)


def _joined(lines: Sequence[str]) -> list[str]:
    """Commands, those over several lines as one."""
    return "\n".join(lines).replace("\\\n", "").splitlines()


def test_there_is_a_how_to_for_each_situation_and_each_is_tried() -> None:
    assert {page.stem for page in HOWTOS} == set(SITUATIONS)
    for page in HOWTOS:
        assert any(kind == "try" for kind, _, _ in blocks(page)), page.name
        assert f"(howto/{page.name})" in (ROOT / "docs/README.md").read_text()


def test_a_ledger_line_says_where_the_run_was_read_last_also_after_the_nas_has_moved(house: House) -> None:
    proved(house)
    shutil.move(house.root / "mnt/nas/lab", house.root / "mnt/nas/moved")
    house.config.write_text(house.config.read_text().replace("/mnt/nas/lab", "/mnt/nas/moved"))
    house.do(f"exlab-orch clear --yes {RUN}")
    assert house.status == 0
    assert f"{house.root}/mnt/nas/moved/{RUN}" in (house.root / "var/lib/exlab-orch/ledger.jsonl").read_text()


def test_the_line_of_disk_full_switches_the_schedule_on_in_what_init_wrote(house: House) -> None:
    (line,) = re.findall(r"^sudo sed .*$", (ROOT / "docs/howto/disk-full.md").read_text(), re.MULTILINE)
    house.do("exlab-orch init --staging-root /srv/staging --nas-root /mnt/nas/lab --state-dir /var/lib/exlab-orch")
    assert load_config(house.config).orchestrator.staging_cleanup.mode == "manual"
    house.do(line)
    assert load_config(house.config).orchestrator.staging_cleanup.mode == "scheduled"


def test_runs_that_a_new_empty_nas_lacks_are_not_deleted_but_copied_there(house: House) -> None:
    """What nas-moved.md says about a NAS that is lost."""
    proved(house)
    house.config.write_text(house.config.read_text().replace("/mnt/nas/lab", "/mnt/nas/new"))
    page = (ROOT / "docs/howto/nas-moved.md").read_text()
    (empty_the_id,) = re.findall(r"^sudo sed .*marker_id.*$", page, re.MULTILINE)
    house.do(empty_the_id)
    house.do("exlab-orch nas-init")
    house.do("exlab-orch list")
    assert house.saw(f"{RUN}…on another NAS…")
    house.do(f"exlab-orch clear --yes {NEXT}")
    assert house.status == 5
    house.do("exlab-orch verify --all")
    assert house.status == 3
    assert sorted(path.name for path in (house.root / "srv/staging" / RUN).glob("*.tif")) == [
        "image_1.tif",
        "image_2.tif",
    ]
    house.do("exlab-orch poll")
    for run_path in (RUN, NEXT):
        assert (house.root / "mnt/nas/new" / run_path / "image_1.tif").exists()


def test_runs_in_staging_folders_that_were_copied_are_proved_again(house: House) -> None:
    """What new-computer.md says about folders that are copied, and not moved with their disk."""
    proved(house)
    staging = house.root / "srv/staging"
    shutil.copytree(staging, house.root / "backup/staging")
    shutil.rmtree(staging)
    shutil.move(house.root / "backup/staging", staging)
    house.do("exlab-orch poll -v")
    assert house.saw(f"{RUN}: waiting to copy")
    assert house.saw(f"{RUN}: on NAS, checked")
    house.do(f"exlab-orch show {RUN} --json")
    assert '"reason": "record_unsealed"' in house.said[-1]


def test_a_new_computer_refuses_until_it_takes_over_and_then_believes_what_was_sealed(house: House) -> None:
    """What new-computer.md says about a staging disk that is moved, with the state directory."""
    proved(house)
    owner = house.root / "srv/staging/.exlab-orch/owner.json"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"machine": "another", "host": "OLD"}))
    house.do("exlab-orch poll")
    assert house.status == 78
    page = (ROOT / "docs/howto/new-computer.md").read_text()
    for line in re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0].splitlines():
        assert house.saw(line), (line, house.said)
    house.do("exlab-orch takeover --yes")
    house.said.clear()
    house.do("exlab-orch poll -v")
    assert house.status == 0
    house.do(f"exlab-orch show {RUN} --json")
    assert "record_unsealed" not in house.said[-1]
    house.do(f"exlab-orch clear --yes {RUN}")
    assert house.status == 0
