"""Another path of `backends.uvicorn`."""

from django_prodserver.backends.uvicorn import UvicornServer as UvicornServer
from django_prodserver.backends.uvicorn import UvicornWSGIServer as UvicornWSGIServer
