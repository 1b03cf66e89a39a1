"""A drawn world of talking people, and the measures that read it back from the pixels.

Pure torch, numpy and PIL: nothing here may know the host, the models or how they are trained.
"""
