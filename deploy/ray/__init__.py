"""The service in replicas of Ray Serve: ``serve run deploy.ray:app`` in the folder of the repository.

Start Ray with the variables of ``settings.env``. The settings of the service, ``ANYVIEW_…``, are those of the
process that imports this module; every replica gets them and follows the store by itself.
"""

from __future__ import annotations

import logging
import math
import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray import serve
from service.app import served
from service.models import trials
from service.models.warm import WarmProcess
from service.settings import Settings

log = logging.getLogger("anyview")

CORES = float(os.environ.get("ANYVIEW_RAY_CORES", "1"))
"""Cores that Ray reserves for a replica."""
LEAST = int(os.environ.get("ANYVIEW_RAY_MIN_REPLICAS", "2"))
MOST = int(os.environ.get("ANYVIEW_RAY_MAX_REPLICAS", "8"))
REQUESTS = 32
"""Requests in progress per replica above which Ray adds replicas."""
MOST_REQUESTS = 4096
"""The service queues requests and refuses them with 429; Ray's default of 5 would leave its batches empty."""

if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
    log.warning(
        "Ray's default proxy takes 16 times the processor time of its HAProxy mode, 51 times that of the "
        "service: start Ray with the variables of deploy/ray/settings.env"
    )


class OneRequestId:
    """Leaves out the header X-Request-ID of the service: Ray adds the same one to each response.

    Arguments:
        app: The service.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_rest(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [one for one in message["headers"] if one[0].lower() != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, send_rest if scope["type"] == "http" else send)


def create() -> OneRequestId:
    """Creates the service in a replica, beside the threads of Ray."""
    trials.WARM = WarmProcess.spawned()
    return OneRequestId(served(Settings()))


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a replica: the settings, and as many threads as cores."""
    threads = str(max(1, math.floor(CORES)))
    return {"ANYVIEW_THREADS": threads, "OMP_NUM_THREADS": threads, **settings.to_environment()}


settings = Settings()
app = (
    serve.deployment(serve.ingress(create)())
    .options(
        name="anyview",
        autoscaling_config={"min_replicas": LEAST, "max_replicas": MOST, "target_ongoing_requests": REQUESTS},
        max_ongoing_requests=MOST_REQUESTS,
        health_check_period_s=2,
        graceful_shutdown_timeout_s=settings.deadline_seconds + 5,
        ray_actor_options={"num_cpus": CORES, "runtime_env": {"env_vars": environment(settings)}},
    )
    .bind()
)
"""The application, for ``serve run`` and for ``import_path``."""
