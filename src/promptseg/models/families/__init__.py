"""Networks, one package per family."""
