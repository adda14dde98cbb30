"""Sends inside a transaction that the broker is no part of: stored with the caller's data, published after the commit.

`put` writes rows in the caller's transaction; after its commit the process publishes them in one step and deletes
them. `relay` is the keeper's part: it publishes what a process left behind that died, or found no broker. `look`
answers questions.
"""
