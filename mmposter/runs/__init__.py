"""Run folders: what a trained model is, and building it again."""
