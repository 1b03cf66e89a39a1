"""The adapter's maths and file layouts: audio projection, audio cross-attention, what a checkpoint is."""
