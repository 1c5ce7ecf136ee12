"""A poster as pixels: which files are meant, reading, transforms."""
