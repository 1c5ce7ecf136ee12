"""Genres of new posters by a trained model."""
