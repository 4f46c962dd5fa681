"""nnU-Net trained on a collection: folders, plans, training and weights by one command."""
