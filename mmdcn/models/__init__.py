"""Models and their parts. Importing this module registers them."""

import mmpretrain.models  # noqa: F401  (fills the parent registry)

from .backbones import *  # noqa: F401,F403
from .classifiers import *  # noqa: F401,F403
from .data_preprocessors import *  # noqa: F401,F403
from .heads import *  # noqa: F401,F403
from .losses import *  # noqa: F401,F403
from .necks import *  # noqa: F401,F403
from .patches import *  # noqa: F401,F403
from .saliency import *  # noqa: F401,F403
from .selectors import *  # noqa: F401,F403
from .tta import *  # noqa: F401,F403
