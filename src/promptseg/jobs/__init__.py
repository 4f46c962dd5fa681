"""Verbs of the command line on files: paths and options go in, results come back, errors are raised."""
