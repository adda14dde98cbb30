"""Room of the environment's sources: variables, .env files and YAML, each value with its origin."""
