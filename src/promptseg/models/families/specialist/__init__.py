"""Specialists that are told by a box, which is one more channel of their input (MedSAM, Methods)."""
