"""Training of classes: models that are asked without prompts, in 2D and 3D."""
