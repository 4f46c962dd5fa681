"""nnU-Net as a program of its own: it plans, trains and predicts in another Python."""
