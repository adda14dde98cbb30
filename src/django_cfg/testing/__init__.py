"""For tests of projects and of brokers: waiting for conditions, and the suite that a broker must pass."""
