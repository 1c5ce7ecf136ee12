"""Ablation: a grid of configurations trained and masked, compared honestly, and reported."""
