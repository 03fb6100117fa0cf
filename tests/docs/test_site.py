"""Builds the site."""

import shutil
import subprocess
import sys

from ..conftest import ROOT
from ..tools.running import environment

NOWHERE = 'http://127.0.0.1:9'  # where nobody answers


def test_the_site_builds_without_a_warning_and_without_the_network(tmp_path):
    shutil.rmtree(ROOT / 'docs' / 'api', ignore_errors=True)  # pages of modules that have gone
    done = subprocess.run(
        [sys.executable, *'-m sphinx -q -W --keep-going -c docs .'.split(), tmp_path / 'site'],
        cwd=ROOT,
        env=environment(http_proxy=NOWHERE, https_proxy=NOWHERE),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    pages = {path.name for path in (tmp_path / 'site' / 'docs' / 'api').iterdir()}
    assert {'mmdcn.models.saliency.html', 'mmdcn.apis.html'} <= pages
