"""Evaluation of masks: simulated users, protocols, scores."""
