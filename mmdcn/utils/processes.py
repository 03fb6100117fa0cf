"""Scripts in processes of their own, which begin with torch and OpenMMLab's packages imported."""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Processes are forked from a server that has imported these and done nothing else, so that threads
# and CUDA contexts of this process don't come along.
_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['mmpretrain.models', 'mmdcn.engine.launch'])
# To be forked from later, the server may ask for GPUs but must not open one.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
_SHOWN = 15  # lines
_running: set[multiprocessing.process.BaseProcess] = set()


class ScriptError(Exception):
    """A script has failed or was stopped."""


def run_script(script: Path, args: Sequence, *, log: Path, folder: Path | None = None) -> None:
    """Run a Python script to its end as ``python SCRIPT ARGS`` would.

    Args:
        script: Its path.
        args: What stands behind it on the command line.
        log: File to which its output is appended.
        folder: The working folder; this process's by default.

    Raises:
        ScriptError: It failed; the message has the end of its output.
    """
    folder = Path(folder or '.').resolve()
    log = Path(log).resolve()
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(
        target=_run, args=(str(Path(script).resolve()), list(map(str, args)), str(folder), str(log))
    )
    process.start()
    _running.add(process)
    process.join()
    _running.discard(process)
    if process.exitcode:
        end = log.read_text(errors='replace').splitlines()[-_SHOWN:]
        raise ScriptError(
            '\n'.join(
                [
                    *end,
                    f'{Path(script).name} has failed '
                    f'(exit code {process.exitcode}); all of its output is in '
                    f'{log}.',
                ]
            )
        )


@contextmanager
def stopping_scripts() -> Iterator[None]:
    """Whatever ends the block early ends the scripts that run."""
    try:
        yield
    except BaseException:
        for process in list(_running):
            try:  # with the workers of its data loaders, which would wait for it forever
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # has no group yet, or has ended
                process.kill()
        raise


def _run(script: str, args: Sequence[str], folder: str, log: str) -> None:
    os.setpgrp()
    os.chdir(folder)
    with open(log, 'ab', buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = [script, *args]
    runpy.run_path(script, run_name='__main__')
