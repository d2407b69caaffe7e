"""What a worker answers over HTTP: whether it lives, and what it counts.

The law of this file: nothing of an execution is told here, and nothing can be done. Who reaches
the port reads it.
"""

from fastapi import FastAPI

from tailrace.http import about, problems, prometheus
from tailrace.http.observe import Observer
from tailrace.metrics import Tally
from tailrace.runtime import Runtime
from tailrace.version import __version__


def worker_app(runtime: Runtime) -> FastAPI:
    """`/healthz`, `/readyz` and, unless the settings say no, `/metrics` of a runtime that works."""
    app = FastAPI(title="Tailrace worker", version=__version__, docs_url=None, redoc_url=None)
    problems.install(app)
    app.include_router(about.health(runtime))
    if runtime.settings.metrics:
        runtime.metrics = tally = Tally()
        app.include_router(prometheus.router(runtime, Observer(runtime), tally))
    return app
