"""Client of the AnyView service: any view in, any view out, as numpy arrays."""

from anyview_client.answers import Answer, Encoded, Generated, Model, Scored, Target
from anyview_client.client import AsyncClient, Client
from anyview_client.errors import ServiceError
from anyview_client.retries import Retries

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "Encoded",
    "Generated",
    "Model",
    "Retries",
    "Scored",
    "ServiceError",
    "Target",
]
