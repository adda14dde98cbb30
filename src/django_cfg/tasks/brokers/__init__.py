"""Brokers: one contract, one implementation a store. Callers ask flags, never classes."""
