"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from mmdcn.utils.memory import keep_freed_memory

def resident():  # MB
    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 1e6

kept = sys.argv[1] == 'kept'
assert not kept or keep_freed_memory()
before = resident()
torch.ones(25_000_000)  # 100 MB, freed at once
assert (resident() - before > 90) == kept, resident() - before
"""


@pytest.mark.parametrize('how', ['returned', 'kept'])
def test_what_was_freed_is_kept_where_asked_for(how):
    done = subprocess.run([sys.executable, '-c', SCRIPT, how], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
