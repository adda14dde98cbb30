"""The database broker: messages are rows, a claim is a lease on rows, an enqueue is part of your transaction."""
