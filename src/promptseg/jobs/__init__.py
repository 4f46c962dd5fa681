"""Says what the verbs do with files: paths and options go in, results come back, errors are raised."""
