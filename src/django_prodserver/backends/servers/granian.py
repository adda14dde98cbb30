"""Another path of `backends.granian`."""

from django_prodserver.backends.granian import (
    GranianASGIServer as GranianASGIServer,
)
from django_prodserver.backends.granian import (
    GranianWSGIServer as GranianWSGIServer,
)
