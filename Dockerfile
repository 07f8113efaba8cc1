# Two images from one file:
#   docker build -t anyview .                          the service: no torch, no compiler, not root
#   docker build -t anyview-train --target training .  the same code with torch, to fit and publish models

# --- what both install ---------------------------------------------------------------------------------
FROM python:3.11-slim-bookworm AS base
# Logs appear when they are written, and nothing is compiled at every start of a container.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# --- the service with everything it needs, in a virtual environment that can be copied --------------------
FROM base AS build
RUN python -m venv /opt/anyview
COPY pyproject.toml constraints.txt requirements-service.txt README.md LICENSE ./
COPY models_store models_store
COPY service service
COPY training training
# Every file by its hash. s3: a cluster's models are in a bucket. grpc: nothing imports it unless ANYVIEW_GRPC_PORT is set.
RUN /opt/anyview/bin/pip install --require-hashes -r requirements-service.txt && \
    /opt/anyview/bin/pip install --no-deps .

# --- training: torch on top of the same environment ----------------------------------------------------------
FROM build AS training
RUN /opt/anyview/bin/pip install -c constraints.txt '.[training]'
ENV PATH=/opt/anyview/bin:$PATH ANYVIEW_STORE=/store ANYVIEW_DATA=/data XDG_CACHE_HOME=/cache
# A volume takes over the owner of the folder that it is mounted on.
RUN useradd --create-home --uid 10001 anyview && \
    mkdir -p /store /data /cache /work/runs && chown -R anyview /store /data /cache /work
USER 10001
WORKDIR /work
ENTRYPOINT ["anyview-train"]
CMD ["--help"]

# --- the service, last so that it is what a plain build gives ---------------------------------------------
FROM base AS service
RUN useradd --create-home --uid 10001 anyview && mkdir -p /store && chown anyview /store
COPY --from=build /opt/anyview /opt/anyview
# In a container the outside decides who may reach the port, so it listens on all addresses. The shipped
# models are inside; set ANYVIEW_STORE (for instance to the volume /store) to serve your own.
ENV PATH=/opt/anyview/bin:$PATH ANYVIEW_HOST=0.0.0.0 ANYVIEW_PORT=8000 ANYVIEW_DEFAULT_MODEL=digits
USER 10001
WORKDIR /home/anyview
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"ANYVIEW_PORT\"]}/readyz', timeout=2)"]
CMD ["anyview-serve"]
