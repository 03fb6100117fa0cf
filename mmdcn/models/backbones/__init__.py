from .cluttered_mnist import ClutteredMNISTCoarse, ClutteredMNISTFine

__all__ = ['ClutteredMNISTCoarse', 'ClutteredMNISTFine']
