"""Other people's tests of Django's Tasks framework, run against our backend: `python3 dev.py conformance`."""
