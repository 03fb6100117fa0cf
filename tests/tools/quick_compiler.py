"""Makes torch.compile stop before the C++ compiler, which takes most of its time.

Runs import it by ``custom_imports``. What is compiled, and when, stays the same.
"""

from functools import partial

import torch
import torch.distributed

# Several buckets of gradients, at which torch cuts a graph.
torch.distributed._DEFAULT_FIRST_BUCKET_BYTES = 50_000
torch.compile = partial(torch.compile, backend='aot_eager')
