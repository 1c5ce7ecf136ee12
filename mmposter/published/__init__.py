"""Published systems: what each paper says, how its networks are trained here, and a table beside the constant."""
