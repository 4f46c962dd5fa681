"""The SAM 2 family: pictures, and objects propagated through frames with memory."""
