"""Run tools in processes that start with torch and OpenMMLab's packages already imported."""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Processes are forked from a server that has only imported these packages. So they inherit no
# threads and no CUDA context from this process.
_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['mmdcn.engine.launch', 'mmpretrain.models'])
# The server may look for GPUs but must not open one, because processes are forked from it later.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
_SHOWN = 15  # lines of output in an error message
_running: set[multiprocessing.process.BaseProcess] = set()


class ToolError(ChildProcessError):
    """Raised if a tool has failed or was stopped."""


def run_tool(
    tool: str,
    args: Sequence,
    *,
    log: Path,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    """Run a tool to its end, as from the command line.

    Args:
        tool: Module of the tool, which has a ``main(argv)``, such as ``'tools.train'``.
        args: Arguments of its command line.
        log: File to which its output is appended.
        folder: Working folder of the tool; by default that of this process.
        environment: Environment variables to set for the tool.

    Raises:
        ToolError: The tool failed; the message has the end of its output.
    """
    folder = Path(folder or '.').resolve()
    log = Path(log).resolve()
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(
        target=_run, args=(tool, list(map(str, args)), str(folder), str(log), environment or {})
    )
    process.start()
    _running.add(process)
    process.join()
    _running.discard(process)
    if process.exitcode:
        end = log.read_text(errors='replace').splitlines()[-_SHOWN:]
        sentence = (
            f'{_file_of(tool)} has failed (exit code {process.exitcode}); all of its output is in '
            f'{log}.'
        )
        raise ToolError('\n'.join([*end, sentence]))


@contextmanager
def stopping_tools() -> Iterator[None]:
    """End all running tools if the block ends early."""
    try:
        yield
    except BaseException:
        for process in list(_running):
            try:  # also ends its data loader workers, which would wait forever
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group yet, or has ended
                process.kill()
        raise


def _run(tool: str, args: list[str], folder: str, log: str, environment: dict[str, str]) -> None:
    os.setpgrp()
    os.environ.update(environment)
    os.chdir(folder)
    with open(log, 'ab', buffering=0) as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = [_file_of(tool), *args]  # argparse shows this name
    importlib.import_module(tool).main(args)


def _file_of(tool: str) -> str:
    return f'{tool.rpartition(".")[-1]}.py'
