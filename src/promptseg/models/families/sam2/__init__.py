"""The SAM 2 family: 2D images, and objects propagated through frames with memory."""
