"""Videos that somebody works on in the page: opened, prompted, propagated, corrected, kept, written."""
