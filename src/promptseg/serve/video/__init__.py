"""Videos that somebody works on in the page: opened, prompted, followed, corrected, kept, written."""
