"""The description of the service at ``/openapi.json``, typed by the models that are loaded."""

from service.openapi.document import describe

__all__ = ["describe"]
