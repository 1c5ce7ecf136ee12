"""Packs: a prepared data set with its cached features in one small file, without any picture."""
