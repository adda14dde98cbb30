"""Records of tasks: what is kept, how it is written, and the numbers that outlive it."""
