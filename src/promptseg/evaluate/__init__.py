"""Says how good the masks are: simulated users, protocols."""
