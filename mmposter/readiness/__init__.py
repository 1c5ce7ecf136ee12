"""What this machine can do: which branches are ready, for a configuration or a run, and what the others lack."""
