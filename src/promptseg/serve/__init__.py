"""The server: sessions on loaded models for people with a mouse. No HTTP here but in `web`."""
