"""Fine-tuning: objectives, the loop, validation as evaluation does it, and what comes out of it."""
