"""The Open Inference Protocol, version 2: tensors in, tensors out, from the same engine as everything else.

https://github.com/kserve/open-inference-protocol, with the extensions for binary tensors, classification,
model configuration, model repository and statistics as Triton Inference Server defines them.
"""
