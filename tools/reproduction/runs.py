"""Train runs to their end, resume interrupted ones, and test each once."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from mmengine.config import Config
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tools.output import names_of, write_json

from .place import Place
from .processes import run_tool, stopping_tools
from .provenance import provenance, relative
from .results import CLUTTERS
from .scalars import read_scalars

# Settings of a config that a trained run depends on.
_SETTINGS = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'test_dataloader',
    'test_evaluator',
)
# Changes of a quick run to any config.
QUICK = [
    'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
    'val_dataloader.dataset.indices=16',
    'test_dataloader.dataset.indices=24',
]


class Run(NamedTuple):
    """A training.

    Attributes:
        folder: Folder of its logs and checkpoints.
        epochs: Number of epochs.
        options: Options of the config, for training and testing.
        cwd: Working folder.
        amp: Whether it is trained in mixed precision.
        environment: Environment variables that its config reads.
    """

    config: Path
    seed: int
    clutter: str
    folder: Path
    epochs: int
    options: list[str]
    cwd: Path = Path('.')
    amp: bool = False
    environment: dict[str, str] | None = None

    @property
    def checkpoint(self) -> Path:
        """Return the path of the last epoch's checkpoint."""
        return self.folder / f'epoch_{self.epochs}.pth'

    def reached(self) -> int:
        """Return the number of finished epochs."""
        last = self.folder / 'last_checkpoint'
        found = re.search(r'epoch_(\d+)\.pth', last.read_text()) if last.is_file() else None
        return int(found.group(1)) if found else 0

    def describe(self) -> str:
        """Return a readable description of the run."""
        clutter = f', {CLUTTERS[self.clutter]}' if self.clutter else ''
        return f'{names_of([self.config])[0]}, seed {self.seed}{clutter}'

    def settings(self) -> dict:
        """Return the settings that the run's result depends on."""
        cfg = Config.fromfile(self.config)
        settings = {name: cfg.get(name) for name in _SETTINGS}
        # Tuples become lists, as in the JSON file that stores them.
        return json.loads(json.dumps(dict(options=self.options, amp=self.amp, **settings)))

    def starts(self) -> list[dict]:
        """Return commit, machine and command of every process that trained the run."""
        path = self.folder / 'starts.json'
        return json.loads(path.read_text()) if path.is_file() else []


def train_all(place: Place, runs: Sequence[Run], test: bool = False) -> None:
    """Finish runs, ``place.args.jobs`` at a time, and show their progress.

    Args:
        place: Has the number of parallel runs and the command.
        runs: The runs to train.
        test: Whether to test each run at its end.

    Raises:
        ToolError: A training or test has failed.
        ValueError: An existing run was trained with other settings.
    """
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    pool = ThreadPoolExecutor(place.args.jobs)
    with Progress(*columns) as progress, pool, stopping_tools():
        bar = progress.add_task('Epochs of all runs', total=sum(run.epochs for run in runs))
        waiting = {pool.submit(finish, run, place.command, test): run for run in runs}
        try:
            while waiting:
                for future in wait(waiting, 1.0, FIRST_COMPLETED).done:
                    run = waiting.pop(future)
                    progress.console.print(f'{run.describe()}: {future.result()}', highlight=False)
                progress.update(bar, completed=sum(run.reached() for run in runs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def finish(run: Run, command: str, test: bool) -> str:
    """Train a run to its end and test it once, unless this is done.

    It waits until no other process works on the run, because figures and tables share runs.

    Returns:
        str: Description of what was done.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / 'lock'):
        check_settings(run)
        done = []
        reached = run.reached()
        if reached < run.epochs:
            train(run, command)
            done.append(f'went on after epoch {reached}' if reached else 'trained')
        marker = run.folder / 'run.json'
        if test and not marker.is_file():
            result = result_of(run)
            write_json(marker, result)
            done.append(f'test error {result["test_error"]:.2f} %')
    return ', '.join(done) or 'was done'


def train(run: Run, command: str) -> None:
    """Train a run to its end, resuming it if possible, and record the commit and machine."""
    starts, now = run.starts(), dict(provenance(), command=command)
    if now not in starts:
        write_json(run.folder / 'starts.json', [*starts, now])
    run_tool(
        'tools.train',
        [
            run.config,
            '--work-dir',
            run.folder.absolute(),
            '--resume',
            *(['--amp'] if run.amp else []),
            '--cfg-options',
            *run.options,
        ],
        folder=run.cwd,
        log=run.folder / 'train.log',
        environment=run.environment,
    )


def result_of(run: Run) -> dict:
    """Test the weights of the last epoch, unless this is done, and return all results."""
    tested = run.folder / 'test.json'
    if not tested.is_file():
        run_tool(
            'tools.test',
            [
                run.config,
                run.checkpoint,
                '--work-dir',
                run.folder / 'test',
                '--out',
                tested,
                '--out-item',
                'metrics',
                '--cfg-options',
                *run.options,
            ],
            log=run.folder / 'test.log',
        )
    metrics = json.loads(tested.read_text())
    accuracies = read_scalars(run.folder, 'accuracy/top1')
    return dict(
        config=relative(run.config),
        seed=run.seed,
        clutter=run.clutter,
        epochs=run.epochs,
        amp=run.amp,
        options=run.options,
        checkpoint=run.checkpoint.name,
        # None if the run was killed before the validation of its last epoch.
        val_error=100 - accuracies[run.epochs] if run.epochs in accuracies else None,
        test_error=100 - metrics['accuracy/top1'],
        metrics=metrics,
        starts=run.starts(),
    )


def check_settings(run: Run) -> None:
    """Compare a run's settings with those of its earlier training, or store them if there is none.

    Raises:
        ValueError: The earlier training had other settings.
    """
    kept, settings = run.folder / 'settings.json', run.settings()
    if not kept.is_file():
        write_json(kept, settings)
    elif (before := json.loads(kept.read_text())) != settings:
        changed = [name for name in settings if settings[name] != before.get(name)]
        raise ValueError(
            f'{relative(run.config)} has changed since {run.folder} was begun '
            f'({", ".join(changed)}): remove that folder to train it again.'
        )
