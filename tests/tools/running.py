"""Running the tools as a user does."""

import io
import json
import os
import runpy
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from ..conftest import ROOT

TIMEOUT = 900  # seconds; only what hangs takes so long, also on a busy machine
QUICK = 'configs/dcn/dcn-k8-hint_1xb128-4e_cluttered-mnist.py'


class Clock:
    """Gives each run a second of its own; runs of one second would share logger and visualizer."""

    last = 0.0
    localtime, strftime = time.localtime, time.strftime

    @classmethod
    def time(cls) -> float:
        """Return the time, or a second after the last one if that is later."""
        cls.last = max(time.time(), cls.last + 1)
        return cls.last


def environment(**variables: str) -> dict[str, str]:
    """This process's, with the interpreter of the tests first on the path."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), **variables}


def python(*args, **variables: str) -> list[str]:
    return dict(
        args=[sys.executable, *map(str, args)],
        cwd=ROOT,
        env=environment(**variables),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run_python(*args, **variables: str) -> str:
    """Run a script to its end and give what it printed; it must succeed."""
    done = subprocess.run(**python(*args, **variables), timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_tool(tool, *args, folder: Path = ROOT, code: int = 0) -> str:
    """Run a script in this process, which spares a start of seconds, and give what it printed.

    Args:
        tool: Its path, from the root of the repository.
        *args: What stands behind it on the command line.
        folder: The working folder.
        code: What it must exit with.
    """
    printed, found = io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.chdir(folder)
        patch.setenv('LOCAL_RANK', '0')  # the tools set it, here for the while
        patch.setattr(sys, 'argv', [str(tool), *map(str, args)])
        patch.setattr('mmengine.runner.runner.time', Clock)
        try:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        except SystemExit as end:
            found = end.code or 0
            if isinstance(found, str):  # as Python does
                print(found)
                found = 1
    assert found == code, printed.getvalue()
    return printed.getvalue()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def logged(work_dir: Path, key: str) -> dict[int, float]:
    """Iteration -> value, from the logs of all runs in a work dir, the newest run last."""
    values = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if key in entry:
                values[entry['step']] = entry[key]
    return values
