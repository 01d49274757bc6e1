"""Progress on a terminal: the run's name, and under it a bar with bytes, rate and time left."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from exlab_orch import text
from exlab_orch.cli import endings

_DOING: Final = {"copy": "copying", "proof": "checking", "clear": "deleting", "verify": "verifying"}


class _Figures(ProgressColumn):
    """Bytes done, rate and time left, each as wide as it can become, so that the bar stands still."""

    def render(self, task: Task) -> Text:
        """The figures of a task."""
        rate = "" if task.speed is None else f"{text.size(int(task.speed))}/s"
        left = "" if task.time_remaining is None else f"{text.duration(task.time_remaining)} left"
        done = f"{text.size(int(task.completed))} of {text.size(int(task.total or 0))}"
        return Text(f"{done:>20} {rate:>10} {left:>16}")


class _NamedProgress(Progress):
    """A progress display with a line above the bar, so that a name is never cut to make room for figures."""

    name: str = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The name and the bar, or nothing between two phases."""
        if self.tasks:
            yield Text(self.name, overflow="fold")
            yield self.make_tasks_table(self.tasks)


class Bars:
    """An observer that draws one phase at a time; rich locks, so any thread may advance it."""

    def __init__(self, console: Console) -> None:
        # The ^C that a terminal shows must not push the line over the edge, or it could not be taken away again.
        console.width = max(console.width - 3, 40)
        self._task: TaskID | None = None
        self._progress = _NamedProgress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=None),
            _Figures(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        endings.restore_terminal.append(self._progress.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        endings.restore_terminal.remove(self._progress.stop)
        self._progress.stop()

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        """Draw the phase of a run."""
        del files
        self.end()
        self._progress.name = text.printable(run_path, limit=1000)
        self._task = self._progress.add_task(_DOING.get(phase, phase), total=byte_total)

    def advance(self, byte_count: int) -> None:
        """Move the bar by so many bytes."""
        if self._task is not None:
            self._progress.advance(self._task, byte_count)

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
