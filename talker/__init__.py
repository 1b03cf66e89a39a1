"""A drawn world of talking people, and the measures that read it back from the pixels.

Only torch, numpy and OpenCV: nothing here may know the host, the models or how they are trained.
"""
