"""The broker on RabbitMQ: confirmed publishes to quorum queues, a ladder for delays, a database for the rest."""
