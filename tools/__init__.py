"""The command line tools, and the code that they share.

Each tool puts the folder above this package on the path. So it runs from a clone, from an
installation of mmdcn, and through ``mim``.
"""
