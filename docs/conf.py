"""Settings of the site.

The root of the repository is the source, so that pages link to each other as they do on a forge.
"""

import os
import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]


def setup(app):
    """Let references name a thing by the package that lends it."""
    app.connect('missing-reference', resolve_lent_name)


def resolve_lent_name(app, env, node, contnode):
    """Return a link from ``mmdcn.get_model`` to ``mmdcn.apis.model.get_model``, or None."""
    package, _, name = node['reftarget'].rpartition('.')
    if node.get('refdomain') != 'py' or not package.startswith('mmdcn'):
        return None
    try:
        found = getattr(import_module(package), name)
        defined = f'{found.__module__}.{found.__qualname__}'
    except (ImportError, AttributeError):
        return None
    return env.get_domain('py').resolve_xref(
        env, node['refdoc'], app.builder, node['reftype'], defined, node, contnode
    )


project = 'mmdcn'
author = copyright = 'mmdcn authors'
version = release = re.search(
    r"'(.+)'", (ROOT / 'mmdcn' / 'version.py').read_text(encoding='utf-8')
).group(1)

root_doc = 'docs/index'
include_patterns = [
    'docs/*.md',
    'docs/api/*.rst',
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'results/README.md',
    'configs/*/README.md',
]
exclude_patterns = ['.*', 'build', 'data', 'mmdcn', 'tests', 'tools', 'work_dirs']
extensions = [
    'myst_parser',
    'sphinx.ext.apidoc',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]

# Anchors of headings as forges make them.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']

# The reference has a page for each package, made of the docstrings. A class is on the page of the
# module that defines it. Of a package's page, apidoc reads the options from the environment only.
os.environ['SPHINX_APIDOC_OPTIONS'] = 'members,show-inheritance,ignore-module-all'
apidoc_modules = [
    {
        'path': '../mmdcn',
        'destination': 'docs/api',
        'exclude_patterns': ['../mmdcn/.mim/**'],
        'module_first': True,
    }
]
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a NamedTuple's fields are documented once
add_module_names = False
python_use_unqualified_type_names = True

# References to mmdcn must lead somewhere, but for private bases.
nitpicky = True
nitpick_ignore_regex = [(r'py:.*', r'(?!mmdcn).*'), (r'py:class', r'mmdcn\..*\._\w+')]

html_theme = 'furo'
html_title = f'mmdcn {version}'
html_additional_pages = {'index': 'to_start.html'}
templates_path = ['_templates']
