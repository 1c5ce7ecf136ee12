"""Pretrained files: where they are looked for, which are known, which are here."""
