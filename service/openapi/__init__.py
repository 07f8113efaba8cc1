"""The OpenAPI document at ``/openapi.json``, typed by the loaded models."""

from service.openapi.document import describe

__all__ = ["describe"]
