"""The dialect itself; the modules beside it fill it with routes, bodies and views."""

from everloom.api.http.routes import Dialect

DIALECT = Dialect("assistants=v1", empty_threads_run=True)
