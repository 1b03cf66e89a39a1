"""InfiniteTalk as a library: audio features, guidance, window streaming and video writing.

Only `infinitetalk.host` knows ComfyUI; everything else is torch, numpy and av.
"""
