"""Running the tools as a user does."""
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

from ..conftest import ROOT

QUICK = 'configs/cluttered_mnist/dcn-k8-hint_1xb128-4e_cluttered-mnist.py'


def environment(**variables: str) -> Dict[str, str]:
    """This process's, with the interpreter of the tests first on the path."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), **variables}


def python(*args, **variables: str) -> List[str]:
    return dict(args=[sys.executable, *map(str, args)], cwd=ROOT, env=environment(**variables),
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run_python(*args, **variables: str) -> str:
    """Run a script to its end and give what it printed; it must succeed."""
    done = subprocess.run(**python(*args, **variables), timeout=300)
    assert done.returncode == 0, done.stdout
    return done.stdout


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def logged(work_dir: Path, key: str) -> Dict[int, float]:
    """Iteration -> value, from the logs of all runs in a work dir, the newest run last."""
    values = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if key in entry:
                values[entry['step']] = entry[key]
    return values
