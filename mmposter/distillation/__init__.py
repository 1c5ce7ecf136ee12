"""Distillation: an image network of our own that learns on posters what pretrained ones see."""
