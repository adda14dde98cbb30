"""Django's settings, all of them from the typed configuration."""

from api.config import config

globals().update(config.get_all_settings())
