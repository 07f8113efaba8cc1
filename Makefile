# The two commands of a newcomer are `make serve` and `make test`; each makes the environment it needs.

PYTHON ?= python3
VENV := .venv
SERVE := $(VENV)/serve
FULL := $(VENV)/full
BENCH := $(VENV)/bench
DOCS := $(VENV)/docs
SBOM := $(VENV)/sbom
CHECKOV := $(VENV)/checkov
PIP_FLAGS := --disable-pip-version-check --quiet -c constraints.txt
# The pip that comes with Python 3.11 takes three times as long to choose among the files of an index.
NEW_PIP := -m pip install --disable-pip-version-check --quiet --upgrade pip
LOCK := pyproject.toml constraints.txt
# Without the compiled modules every process compiles torch anew: three seconds of each start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test reference lint objects docs format proto train bench-service bench-client bench-grpc bench-impute bench-page bench-training bench-likelihood bench-tables ablation soak sbom clean

serve: export ANYVIEW_DEFAULT_MODEL ?= digits
serve: $(SERVE)/.done  ## Serve the shipped models on http://127.0.0.1:8000
	$(SERVE)/bin/anyview-serve

# Each worker runs whole files, in their order; a third one uses the cores while others wait for processes. The models
# of the tests are small: more threads than one only wait.
WORKERS ?= 3
test: export OMP_NUM_THREADS ?= 1
test: $(FULL)/.done  ## Run all tests, or those of TESTS=tests/service WORKERS=0 in one process
	$(FULL)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

reference: $(FULL)/.done  ## Install MultiVae and Ray, for the tests that compare with them
	$(FULL)/bin/pip install $(PIP_FLAGS) --no-compile --no-deps multivae pythae tqdm
	$(FULL)/bin/pip install $(PIP_FLAGS) --no-compile -e '.[ray]'

lint: $(FULL)/.done  ## Lint, format check, types, import contracts, Dockerfile, workflow
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/mypy
	$(FULL)/bin/lint-imports
	$(FULL)/bin/hadolint Dockerfile deploy/gpu/Dockerfile
	if [ -d tests/clients/node_modules ]; then node tests/clients/workflow.mjs .github/workflows/*.yml; fi

objects: $(FULL)/.done $(CHECKOV)/.done  ## Render the objects of Kubernetes into build/objects, and check them by checkov
	rm -rf build/objects && mkdir -p build/objects
	for file in $$(find deploy -name kustomization.yaml); do \
		folder=$$(dirname $$file); $(FULL)/bin/kubectl kustomize $$folder > build/objects/$$(echo $$folder | tr / -).yaml || exit; \
	done
	$(CHECKOV)/bin/checkov --config-file deploy/checkov.yaml --directory build/objects

docs: $(FULL)/.done $(DOCS)/.done  ## Write the generated pages of docs/ and build the site into build/site
	$(FULL)/bin/python docs/generate.py
	$(DOCS)/bin/mkdocs build --strict --quiet

format: $(FULL)/.done  ## Format, and apply automatic fixes
	$(FULL)/bin/ruff format .
	$(FULL)/bin/ruff check --fix .

train: $(FULL)/.done  ## Train and publish an experiment: make train EXPERIMENT=mnist
	$(FULL)/bin/anyview-train fit $(EXPERIMENT)

bench-service: $(BENCH)/.done  ## Measure the service beside others; takes some minutes, on two idle cores
	$(BENCH)/bin/python -m benchmarks.service

bench-client: $(FULL)/.done  ## Speed of the Python client relative to raw httpx
	PYTHONPATH=clients/python/src $(FULL)/bin/python -m benchmarks.client

proto: $(FULL)/.done  ## Compile the messages of gRPC
	$(FULL)/bin/python -m grpc_tools.protoc -I service/grpc --descriptor_set_out=service/grpc/open_inference.binpb \
		service/grpc/open_inference.proto

bench-impute: $(FULL)/.done  ## Fill 10 million rows of Parquet; IMPUTE="--files 2 --rows 500000" for a shorter run
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m benchmarks.impute $(IMPUTE)

bench-grpc: $(FULL)/.done  ## Speed of inference over gRPC relative to a bare grpc.aio server; on two idle cores
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m benchmarks.grpc_infer

bench-page: $(BENCH)/.done  ## Measure the delay of the page after a stroke; needs Chromium
	$(BENCH)/bin/python -m benchmarks.page

soak: $(BENCH)/.done  ## Measure memory growth; SOAK_REQUESTS=10000 for a short run
	$(BENCH)/bin/python -m benchmarks.soak

bench-training: reference  ## Speed of training relative to MultiVae
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m benchmarks.training

bench-likelihood: reference  ## log p(x) of binarised MNIST beside MultiVae; an hour
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m benchmarks.likelihood

bench-tables: reference  ## init and fit beside ridge, trees, softImpute, …; TABLES="--sets pbc --quick"; hours for all
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m benchmarks.tables $(TABLES)

# Each study resumes where it stopped; ABLATION="--epochs 1 --rows 500 --output somewhere" tries them in minutes.
ablation: export OMP_NUM_THREADS ?= 1
ablation: $(FULL)/.done  ## Compare objectives, weak supervision, missing entries; many hours
	$(FULL)/bin/python -m training.ablation objectives $(ABLATION)
	$(FULL)/bin/python -m training.ablation weak $(ABLATION)
	$(FULL)/bin/python -m training.ablation missing $(ABLATION)
	$(FULL)/bin/python -m training.ablation folds
	$(FULL)/bin/python -m training.ablation tables

sbom: $(SERVE)/.done $(SBOM)/.done  ## Write the bill of materials of the service, CycloneDX, to build/sbom.json
	mkdir -p build
	$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
		--output-file build/sbom.json $(SERVE)/bin/python

clean:  ## Remove the environments
	rm -rf $(VENV)

# The service alone: no torch.
$(SERVE)/.done: $(LOCK)
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(NEW_PIP)
	$(SERVE)/bin/pip install $(PIP_FLAGS) -e .
	touch $@

# Service, training and tests; what checks the TypeScript client and the dashboard where npm is there. Modules are
# compiled when they are imported: most of them never are.
$(FULL)/.done: $(LOCK) tests/clients/package-lock.json
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python $(NEW_PIP)
	$(FULL)/bin/pip install $(PIP_FLAGS) --no-compile -e '.[training,test]'
	if command -v npm > /dev/null; then cd tests/clients && npm ci --silent; fi
	touch $@

# The site. mkdocstrings reads the sources, so nothing of the project is installed.
$(DOCS)/.done: $(LOCK)
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(NEW_PIP)
	$(DOCS)/bin/pip install $(PIP_FLAGS) mkdocs-material 'mkdocstrings[python]'
	touch $@

$(SBOM)/.done: Makefile
	$(PYTHON) -m venv $(SBOM)
	$(SBOM)/bin/pip install --disable-pip-version-check --quiet cyclonedx-bom==7.5.0
	touch $@

# Apart, since it pins the versions of many packages.
$(CHECKOV)/.done: Makefile
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python $(NEW_PIP)
	$(CHECKOV)/bin/pip install --disable-pip-version-check --quiet --no-compile checkov==3.3.30
	touch $@

# The service and the servers that it is compared with.
$(BENCH)/.done: $(LOCK)
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(NEW_PIP)
	$(BENCH)/bin/pip install $(PIP_FLAGS) -e '.[benchmarks]'
	touch $@

REQUESTS ?= 10000
SEED ?= 1
.PHONY: fuzz
fuzz:  ## send REQUESTS random requests to a service of its own, from SEED on
	.venv/full/bin/python -m tests.fuzz.run --requests $(REQUESTS) --seed $(SEED)
