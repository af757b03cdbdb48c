"""OpenAI's models in Azure: chat completions of a deployment, or the v1 API."""

from __future__ import annotations

from massgen_mcp.backends.options import BaseUrl, Options as BaseOptions
from massgen_mcp.backends.reasoning import Reasoning, TextStyle

__all__ = ["V1_API_VERSIONS", "Options"]

V1_API_VERSIONS = ("v1", "preview", "latest")
"""Values of `api_version` that mean the v1 API; an absent one means it too."""


class Options(BaseOptions):
    """The backend block of `type: azure_openai`.

    The file wins over `AZURE_OPENAI_ENDPOINT` and `AZURE_OPENAI_API_VERSION`.
    """

    deployment_name: str | None = None
    """What is asked for; `model` then only says whose prices and limits hold."""
    azure_endpoint: BaseUrl | None = None
    """Another name of `base_url`."""
    api_version: str | None = None
    text: TextStyle | None = None
    reasoning: Reasoning | None = None
    parallel_tool_calls: bool | None = None

    @property
    def deployment(self) -> str | None:
        """The name sent to Azure."""
        return self.deployment_name or self.model

    @property
    def endpoint(self) -> str | None:
        """The resource's address as the file gives it."""
        return self.base_url or self.azure_endpoint

    def is_v1(self, environment_version: str | None = None) -> bool:
        """Whether the v1 API is meant, which has the built-in tools; deployments' chat has not."""
        version = self.api_version or environment_version
        return version is None or version in V1_API_VERSIONS
