"""How good the masks are: simulated users, protocols."""
