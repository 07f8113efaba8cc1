"""The encoders of a bundle behind KServe's server: ``python -m benchmarks.kserve_rival PORT BUNDLE``.

It runs in an environment of its own, without the packages of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kserve import InferRequest, InferResponse, Model, ModelServer
from kserve.protocol.infer_type import InferOutput
from kserve.utils.numpy_codec import from_np_dtype

from benchmarks.subset_model import NAME, SubsetModel


class Encode(Model):  # type: ignore[misc]  # it has no types
    def __init__(self, folder: Path) -> None:
        super().__init__(NAME)
        self.model = SubsetModel(folder)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:
        binary, outputs = any(one.binary_data for one in payload.request_outputs or ()), []
        for name, values in self.model.encode({one.name: one.as_numpy() for one in payload.inputs}).items():
            output = InferOutput(name, list(values.shape), from_np_dtype(values.dtype))
            output.set_data_from_numpy(values, binary_data=binary)
            outputs.append(output)
        return InferResponse(payload.id or NAME, NAME, outputs, use_binary_outputs=binary)


if __name__ == "__main__":
    server = ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, access_log_format=None)
    server.start([Encode(Path(sys.argv[2]))])
