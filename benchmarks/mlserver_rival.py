"""The encoders of a bundle behind MLServer: ``python -m benchmarks.mlserver_rival PORT BUNDLE``.

It runs in an environment of its own, without the packages of this project. Inference is in the process that
speaks HTTP, which is faster for small models than MLServer's worker processes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.subset_model import NAME, SubsetModel


class Encode(MLModel):  # type: ignore[misc]  # it has no types
    async def load(self) -> bool:
        self.model = SubsetModel(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = self.model.encode({one.name: NumpyCodec.decode_input(one) for one in payload.inputs})
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, values) for name, values in outputs.items()],
        )


def main(port: int, folder: str) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(name=NAME, implementation=Encode, parameters=ModelParameters(uri=folder))
    asyncio.run(MLServer(settings).start([model]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
