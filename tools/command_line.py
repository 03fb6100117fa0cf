"""Shared parts of the tools' command lines: arguments, their types, and error messages.

Functions import slow packages themselves, because tools that prepare data need no models or plots.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """End the tool with a message instead of a traceback, for errors that a user can fix.

    This is a context manager and a decorator.
    """
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        raise SystemExit(str(error)) from error


def add_model_arguments(parser: ArgumentParser) -> None:
    """Add arguments for a config, its weights, and settings that override it."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="checkpoint file (default: the weights that the config's init_cfg names)",
    )
    add_cfg_options(parser)


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add the option that overrides settings of a config."""
    from mmengine.config import DictAction

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config, as in: train_dataloader.batch_size=64 '
        'model.selector.k=4. Write lists as key="[a,b]", without spaces.',
    )


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the common options of OpenMMLab's tools that run a config, except --cfg-options."""
    from mmdcn.engine.launch import LAUNCHERS

    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: ./work_dirs/<name of the config>)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--launcher', choices=['none', *LAUNCHERS], default='none')
    # torch.distributed.launch passes the rank as an option; torchrun sets it in the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def config_of(args: Namespace) -> 'Config':
    """Read the config of a command line that has the arguments of :func:`add_run_arguments`.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: It is no config, or no launcher has started this process.
    """
    from mmdcn.engine.launch import load_config

    return load_config(
        args.config,
        args.cfg_options,
        work_dir=args.work_dir,
        launcher=args.launcher,
        local_rank=args.local_rank,
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return an argument type: a whole number of at least ``least``."""

    def number(text: str) -> int:
        if not text.lstrip('+-').isdecimal() or int(text) < least:
            raise ArgumentTypeError(f'must be a whole number of at least {least}, got {text}.')
        return int(text)

    return number


def file_of(suffix: str) -> Callable[[str], Path]:
    """Return an argument type: a file to write, whose name ends in ``suffix``."""

    def path(text: str) -> Path:
        if Path(text).suffix != suffix:
            raise ArgumentTypeError(f'writes a {suffix} file, got {text}.')
        return Path(text)

    return path


def existing_file(text: str) -> str:
    """Check an argument that names a file to read, and return it."""
    if not Path(text).is_file():
        raise ArgumentTypeError(f'the file {text} is not there.')
    return text


def picture(text: str) -> Path:
    """Check an argument that names a picture to write, in a format that matplotlib knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(text)
    if path.suffix[1:].lower() not in FigureCanvasAgg(Figure()).get_supported_filetypes():
        raise ArgumentTypeError(
            f'{text} is not a picture file: end its name in .png, .pdf or .svg.'
        )
    return path
