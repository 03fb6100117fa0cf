"""In place of srun and mpirun: two processes on this machine, each told which one it is.

python two_processes.py srun|mpirun [options] python [options] SCRIPT [arguments]

They are forked when everything is imported, which spares one start of seconds.
"""

import os
import runpy
import signal
import sys

import mmdcn.engine.launch  # noqa: F401

TOLD = dict(
    srun=dict(SLURM_NTASKS='2', SLURM_NODELIST='machine', SLURM_PROCID='{}', SLURM_LOCALID='{}'),
    mpirun=dict(
        OMPI_COMM_WORLD_SIZE='2',
        OMPI_COMM_WORLD_LOCAL_SIZE='2',
        OMPI_COMM_WORLD_RANK='{}',
        OMPI_COMM_WORLD_LOCAL_RANK='{}',
    ),
)


def main(starter, *words):
    words = words[words.index('python') + 1 :]
    command = words[next(i for i, word in enumerate(words) if word[0] != '-') :]
    children = []
    for rank in (0, 1):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ.update({name: value.format(rank) for name, value in TOLD[starter].items()})
            sys.argv = list(command)
            return runpy.run_path(command[0], run_name='__main__')
    for _ in range(2):
        child, status = os.wait()
        children.remove(child)
        if status:
            for other in children:  # it would wait for the one that failed
                os.kill(other, signal.SIGKILL)
            sys.exit(1)


if __name__ == '__main__':
    main(*sys.argv[1:])
