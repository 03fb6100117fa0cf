"""Starts programs."""

import pickle
import subprocess
import sys

from .files import noise
from .test_source import KINDS, written


def printed(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_new_process_reads_pickled_sources(tmp_path):
    image = noise(131, 157, 3)
    sources = [written(tmp_path, kind, image) for kind in KINDS]
    (tmp_path / 'sources').write_bytes(pickle.dumps(sources))
    code = f"""
import pickle, logging
logging.disable()
for source in pickle.load(open({str(tmp_path / 'sources')!r}, 'rb')):
    print(source.window(20, 30, 1, 2).tolist())
"""
    assert printed(code) == [str(image[20:21, 30:32, ::-1].tolist())] * len(KINDS)


def test_mmdcn_is_imported_without_the_packages_of_the_extra():
    code = """
import sys
extra = ('tifffile', 'imagecodecs', 'openslide')
sys.modules.update(dict.fromkeys(extra))  # so that importing them fails; MMCV imports tifffile
import mmdcn, mmdcn.sources
print([name for name in extra if sys.modules.get(name)])
"""
    assert printed(code)[-1] == '[]'
