"""Objects through videos of any length: masks kept small, parts kept on the disk, results as files."""
