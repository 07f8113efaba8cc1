"""The Open Inference Protocol, version 2: requests and responses as tensors.

https://github.com/kserve/open-inference-protocol, with the extensions for binary tensors, classification,
model configuration, model repository and statistics as Triton Inference Server defines them.
"""
