"""Another path of `backends.werkzeug`."""

from django_prodserver.backends.werkzeug import RunserverPlus as RunserverPlus
from django_prodserver.backends.werkzeug import WerkzeugRunserver as WerkzeugRunserver
