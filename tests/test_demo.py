"""The demonstration: it runs as told, its suggestions work, and it fails loudly where something is not so."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from rich.console import Console

from exlab_orch.config import CONFIG_VARIABLE, load_config
from exlab_orch.demo import DemoFailed, RunVerb, run_demo, story
from exlab_orch.demo.instruments import image_tile, manifest_of, spectra, well
from exlab_orch.demo.lab import DAMAGED, NEVER_DONE, ONE_SHORT, PROVED, RUNS, Lab, make_lab, push_runs
from exlab_orch.errors import StagingUnavailable
from exlab_orch.manifests import parse as parse_manifest

ROOT = Path(__file__).parents[1]


def demo(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own, into a pipe, with nothing of a terminal or a home."""
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "exlab_orch", "demo", *words],
        capture_output=True,
        text=True,
        env=clean,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


# -- the whole story -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demonstration_tells_its_story_and_each_of_its_suggestions_works(tmp_path: Path) -> None:
    told = demo("--folder", str(tmp_path / "a lab"))
    assert (told.returncode, told.stderr) == (0, "")
    assert "\x1b" not in told.stdout
    require_story(told.stdout)
    require_width(told.stdout)
    require_suggestions(told.stdout, Lab(str(tmp_path / "a lab")))


def require_story(told: str) -> None:
    """What an operator would see, in that order."""
    expected = [
        "1 of 8  A small lab is set up",
        "$ export EXLAB_ORCH_CONFIG=",
        "$ exlab-orch nas-init",
        "$ exlab-orch equipment list",
        "finished when run_complete is there",
        "$ exlab-orch selftest --size 4MiB",
        "Everything works: runs can be copied, proved and cleared.",
        "2 of 8  Runs arrive",
        "$ exlab-orch poll\n12 runs went on: 12 arriving.",
        "$ exlab-orch list --equipment CONFOCAL_01",
        "waiting for run_complete",
        "5 runs: 5 arriving.",
        "3 of 8  ",
        "$ exlab-orch poll\n10 runs copied and checked.",
        "$ exlab-orch list",
        "on NAS, checked",
        "4 of 5 files have arrived",
        "12 runs: 2 arriving; 10 on NAS, checked.",
        "$ exlab-orch show Run_",
        "Safe on the NAS?",
        "Yes",
        "History",
        "$ cat ",
        "SAFE ON THE NAS since",
        "$ exlab-orch clear --yes Run_",
        "Nothing was deleted.",
        "(exit status 5)",
        "$ exlab-orch list --equipment MASSSPEC_01",
        "nas_copy_damaged: ",
        "1 needs a person.",
        "$ exlab-orch sync --new-version Run_",
        "$ exlab-orch verify Run_",
        "1 run verified: 1 as proved.",
        "6 of 8  ",
        "$ exlab-orch hold Run_",
        "End the hold first",
        "(exit status 5)",
        "$ exlab-orch clear --all-verified --yes --equipment CONFOCAL_01",
        "staged copy deleted, 8 files",
        "$ exlab-orch list --cleared",
        "3 runs on the NAS only",
        "8 of 8  ",
        "$ exlab-orch poll\n\n",
        "$ exlab-orch verify --all --quiet\n\n",
        "$ exlab-orch status",
        "$ exlab-orch report --html ",
        "runs.html: 12 runs",
        "Now try it yourself",
    ]
    place = 0
    for words in expected:
        place = told.find(words, place)
        assert place >= 0, words


def require_width(told: str) -> None:
    """80 columns are enough for all but paths, messages and commands, which are never cut."""
    wide = [line for line in told.splitlines() if len(line.rstrip()) > 80]
    assert [line for line in wide if not re.search("Run_|/|SHA-256", line)] == []


def require_suggestions(told: str, lab: Lab) -> None:
    """Each command of the last chapter, pasted into one shell."""
    commands = re.findall(r"^  (\S.*)$", told.rpartition("Now try it yourself")[2], re.MULTILINE)
    assert len(commands) == 10
    done = subprocess.run(
        ["bash", "-ec", "\n".join(commands[:-1])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=lab.folder,
    )
    assert done.returncode == 0, done.stderr
    for run_path in (NEVER_DONE, ONE_SHORT, DAMAGED):
        record = json.loads((Path(lab.nas) / run_path / ".exlab-wizard/ingest.json").read_text())
        assert record["current_state"] == "sync_verified"
    assert list((Path(lab.nas) / DAMAGED / ".exlab-wizard/superseded").rglob("*.mzML"))
    assert commands[-1].startswith("rm -r ")
    assert lab.folder in commands[-1]


# -- it fails loudly -----------------------------------------------------------------------------------------


def tell(folder: Path, run_verb: RunVerb) -> str:
    """The story with another way of running verbs, without its pauses; what it told."""
    told = StringIO()
    assert run_demo(Console(file=told, width=80), str(folder), run_verb) == 0
    return told.getvalue()


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.mark.usefixtures("_hurry")
def test_the_tour_takes_about_a_minute_to_read_and_no_time_where_nobody_reads(tmp_path: Path) -> None:
    rests: list[float] = []
    lab = make_lab(str(tmp_path / "lab"))
    told = story.Story(Console(file=StringIO()), lab, always(0), "exlab-orch", rests.append)
    told._require = lambda *_: None  # type: ignore[method-assign]
    told._require_states = lambda *_: None  # type: ignore[method-assign]
    Path(lab.receipt(PROVED)).parent.mkdir(parents=True)
    Path(lab.receipt(PROVED)).touch()
    shutil.copytree(lab.staging, lab.nas, dirs_exist_ok=True)
    for chapter in told.chapters():
        if chapter == told.flip_a_bit:
            shutil.copytree(lab.staging, lab.nas, dirs_exist_ok=True)
        chapter()
    assert 40 < sum(rests) < 60, sum(rests)
    assert len(told.chapters()) == story._CHAPTERS


def always(status: int) -> RunVerb:
    return lambda _: status


def lies_about_the_clear(words: Sequence[str]) -> int:
    """Says that the clear was refused, and does nothing at all."""
    return 5 if words[0] == "clear" else 0


@pytest.mark.usefixtures("_hurry")
@pytest.mark.parametrize(
    ("run_verb", "why"), [(always(1), "nas-init"), (always(0), "staging"), (lies_about_the_clear, "staging")]
)
def test_a_verb_that_does_not_do_what_is_told_ends_the_demonstration(
    tmp_path: Path, run_verb: RunVerb, why: str
) -> None:
    with pytest.raises(DemoFailed, match=why):
        tell(tmp_path / "lab", run_verb)
    assert CONFIG_VARIABLE not in os.environ


@pytest.mark.usefixtures("_hurry")
def test_whoever_ends_the_tour_early_is_told_how_to_remove_the_lab(tmp_path: Path) -> None:
    def interrupted(_words: Sequence[str]) -> int:
        raise KeyboardInterrupt

    told = StringIO()
    with pytest.raises(KeyboardInterrupt):
        run_demo(Console(file=told, width=200), str(tmp_path / "lab"), interrupted)
    assert told.getvalue().endswith(f"\n  rm -r {tmp_path}/lab\n")


CHAPTERS = [story.Story.copy, story.Story.look_at_one, story.Story.clear]


@pytest.mark.usefixtures("_hurry")
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.__name__)
def test_a_chapter_looks_at_the_disk_and_not_at_exit_statuses(
    tmp_path: Path, chapter: Callable[[story.Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All verbs pretend to succeed; nothing is on the NAS."""
    monkeypatch.setattr(story.Story, "_require_states", lambda *_: None)
    told = story.Story(Console(file=StringIO()), make_lab(str(tmp_path / "lab")), always(0), "exlab-orch")
    told.arrive()
    with pytest.raises(DemoFailed):
        chapter(told)


def test_a_refused_clear_that_deleted_something_ends_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story.Story, "_require_states", lambda *_: None)
    lab = make_lab(str(tmp_path / "lab"))

    def deletes_and_refuses(words: Sequence[str]) -> int:
        if words[0] == "clear":
            (Path(lab.staging) / DAMAGED / "sequence.csv").unlink()
        return 5

    told = story.Story(Console(file=StringIO()), lab, always(0), "exlab-orch")
    told.arrive()
    shutil.copytree(Path(lab.staging) / DAMAGED, Path(lab.nas) / DAMAGED)
    told._run_verb = deletes_and_refuses
    with pytest.raises(DemoFailed, match="nothing of the damaged run was deleted"):
        told.flip_a_bit()


def test_the_bytes_that_are_compared_are_those_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "run/sub").mkdir(parents=True)
    for name in ("b.raw", "a.raw", "sub/c.raw"):
        (tmp_path / "run" / name).write_bytes(b"0123456789")
    before = story.contents(f"{tmp_path}/run")
    stamp = (tmp_path / "run/a.raw").stat()
    assert story.damage(f"{tmp_path}/run") == "a.raw"
    after = story.contents(f"{tmp_path}/run")
    assert before.keys() == after.keys() == {"a.raw", "b.raw", "sub/c.raw"}
    assert [name for name in before if before[name] != after[name]] == ["a.raw"]
    now = (tmp_path / "run/a.raw").stat()
    assert (now.st_size, now.st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)


# -- where it happens ----------------------------------------------------------------------------------------


def test_a_folder_that_is_in_use_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    refused = demo("--folder", str(tmp_path))
    assert refused.returncode == 2
    assert "no empty folder" in refused.stderr
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_place_where_nothing_can_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StagingUnavailable, match="The lab cannot be made"):
        tell(tmp_path / "file" / "lab", always(0))


def test_json_is_refused() -> None:
    refused = demo("--json")
    assert refused.returncode == 2
    assert json.loads(refused.stderr)["code"] == "usage"


def test_without_a_folder_the_lab_is_below_the_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DemoFailed, match=re.escape(f"{tmp_path}/exlab-demo-")):
        run_demo(Console(file=StringIO()), None, always(1))


@pytest.mark.usefixtures("_hurry")
def test_the_configuration_that_was_in_use_is_in_use_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/etc/mine.toml")
    with pytest.raises(DemoFailed):
        tell(tmp_path / "lab", always(0))
    assert os.environ[CONFIG_VARIABLE] == "/etc/mine.toml"


# -- the lab -------------------------------------------------------------------------------------------------


def test_the_lab_is_a_dozen_runs_of_three_instruments_with_three_signals(tmp_path: Path) -> None:
    lab = make_lab(str(tmp_path / 'a "lab"'))
    push_runs(lab)
    config = load_config(lab.config_path)
    assert [one.completeness_signal for one in config.equipment] == ["sentinel_file", "manifest", "quiet_period"]
    assert len(RUNS) == len({story.name_of(run) for run in RUNS}) == 12
    assert {run.split("/")[0] for run in RUNS} == {one.id for one in config.equipment}
    staged = [path for path in Path(lab.staging).rglob("*") if path.is_file()]
    assert 2 << 20 < sum(path.stat().st_size for path in staged) < 20 << 20
    assert not (Path(lab.staging) / NEVER_DONE / "run_complete").exists()
    assert (Path(lab.staging) / PROVED / "run_complete").exists()


def test_one_manifest_is_one_file_short_and_that_file_lies_on_the_instrument(tmp_path: Path) -> None:
    lab = make_lab(str(tmp_path / "lab"))
    push_runs(lab)
    folder = Path(lab.staging) / ONE_SHORT
    promised = {os.fsdecode(one.name): one.size for one in parse_manifest((folder / "manifest.json").read_bytes())}
    held_back = os.listdir(lab.on_instrument)
    assert promised.keys() - set(os.listdir(folder)) == set(held_back)
    assert len(held_back) == 1
    assert (Path(lab.on_instrument) / held_back[0]).stat().st_size == promised[held_back[0]]


def test_a_well_is_an_fcs_file() -> None:
    content = well(Random(1), "A01.fcs")
    assert content.startswith(b"FCS3.0    ")
    text_begin, text_end, begin, end = (int(content[at : at + 8]) for at in (10, 18, 26, 34))
    words = content[text_begin : text_end + 1].decode().strip("/").split("/")
    keywords = dict(zip(words[::2], words[1::2], strict=True))
    assert end == len(content) - 1
    assert end - begin + 1 == int(keywords["$TOT"]) * int(keywords["$PAR"]) * 4
    assert text_end < begin
    assert keywords["$P8N"] == "Time"


def test_a_tile_is_a_tiff_image() -> None:
    content = image_tile(Random(1))
    assert content[:4] == b"II*\0"
    directory = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, directory)[0]
    entries = [struct.unpack_from("<HHII", content, directory + 2 + 12 * one) for one in range(number)]
    tags = {tag: value for tag, _, _, value in entries}
    assert [tag for tag, *_ in entries] == sorted(tags)
    assert tags[273] + tags[279] == directory
    assert tags[279] == tags[256] * tags[257] * tags[258] // 8


def test_spectra_are_well_formed() -> None:
    root = ElementTree.fromstring(spectra(Random(1), "sample"))
    found = root.findall(".//{http://psi.hupo.org/ms/mzml}spectrum")
    assert len(found) == int(root.find(".//{*}spectrumList").get("count"))  # type: ignore[union-attr,arg-type]


def test_the_manifest_promises_size_and_hash() -> None:
    (one,) = parse_manifest(manifest_of({"a/b.fcs": b"abc"}))
    assert (one.name, one.size) == (b"a/b.fcs", 3)
    assert one.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
