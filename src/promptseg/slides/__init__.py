"""Interactive work on whole slides: answers on regions, joined in the slide's own coordinates."""
