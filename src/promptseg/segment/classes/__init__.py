"""Classes without prompts: patches cut, classified and joined, then made into objects."""
