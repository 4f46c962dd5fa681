"""The SAM 3 family: words, and boxes as examples, find any number of instances."""
