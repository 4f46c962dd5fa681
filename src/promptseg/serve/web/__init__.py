"""HTTP and WebSocket faces of the desk: our own, nnInteractive's, and the page."""
