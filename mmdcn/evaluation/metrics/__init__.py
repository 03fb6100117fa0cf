from .patch_hit import PatchHit

__all__ = ['PatchHit']
