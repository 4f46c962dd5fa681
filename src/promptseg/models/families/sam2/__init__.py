"""The SAM 2 family: pictures, and objects followed through frames with memory."""
