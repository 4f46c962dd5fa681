"""Training of models that know a closed list of words."""
