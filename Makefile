# holdfast: `make verify` is the main job, `make test` proves holdfast itself. Both set up what they need.
SHELL  := /bin/bash
VENV   := .venv
PYTHON ?= python3
LANE   ?=
TREE   ?= fixtures/gitops
ARGS   ?=
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help verify rehearse test lint docs harness beside kwok-smoke smoke own-cluster smoke-registry oracle oracle-nightly schemas lifecycle bench flux-crds clean
help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

verify: $(VENV)/.ready   ## the main job: set up, run every suite with TREE on LANE, or without on all that this machine can, report (ARGS= is passed on)
	@$(VENV)/bin/holdfast verify $(if $(LANE),--lane '$(LANE)') --tree '$(TREE)' $(ARGS)

rehearse: $(VENV)/.ready   ## a cold start of TREE on a control plane of processes: no root, no containers (ARGS= is passed on)
	@$(VENV)/bin/holdfast rehearse '$(TREE)' $(ARGS)

test: lint docs beside smoke oracle   ## the tests of holdfast itself, then the lab smoke

lint: $(VENV)/.ready   ## ruff and mypy
	@$(VENV)/bin/ruff check holdfast suites clusters docs setup.py conftest.py
	@$(VENV)/bin/ruff format --check -q holdfast suites clusters docs setup.py conftest.py
	@$(VENV)/bin/mypy

docs: $(VENV)/.ready   ## the site, into reports/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build -q --strict

harness: $(VENV)/.ready   ## the tests of holdfast itself: no cluster
	@$(VENV)/bin/python -m pytest suites/harness -q -n 2

# The lane of processes mostly waits, so it goes beside the harness; its output comes when that is through.
beside: $(VENV)/.ready
	@mkdir -p reports/out; $(MAKE) --no-print-directory kwok-smoke > reports/out/kwok-smoke.log 2>&1 & lane=$$!; \
	  $(MAKE) --no-print-directory harness; harness=$$?; wait $$lane; code=$$?; cat reports/out/kwok-smoke.log; exit $$(( harness || code ))

kwok-smoke: $(VENV)/.ready   ## what the lane of processes shows, compared with suites/expected.toml
	@$(VENV)/bin/holdfast verify --lane kwok/1.36 --smoke --expect suites/expected.toml

# Its cluster stays for the next part, to which it is somebody's own; then it goes, whatever came of both, also where make is interrupted; not where verify refused to begin (64).
smoke: $(VENV)/.ready   ## one claim of each fault and the observations, compared with suites/expected.toml; then own-cluster on the same cluster
	@code=1; trap '[ $$code = 64 ] || $(VENV)/bin/holdfast down --lane kind/fast' EXIT; trap 'exit 130' INT TERM; \
	  HOLDFAST_INSTALL_ENGINE=$${HOLDFAST_INSTALL_ENGINE:-} $(VENV)/bin/holdfast verify --lane kind/fast --smoke --keep --expect suites/expected.toml; \
	  code=$$?; [ $$code != 0 ] || { $(VENV)/bin/python -m suites.own_cluster; code=$$?; }; exit $$code

own-cluster: $(VENV)/.ready   ## a fault on a cluster that matters, with holdfast killed: the cluster undoes it by itself (on the kept cluster of kind/fast, or a new one)
	@$(VENV)/bin/python -m suites.own_cluster

smoke-registry: $(VENV)/.ready   ## the path with an image registry: one on loopback that holds our images under their upstream names
	@$(VENV)/bin/python -m suites.registry

oracle: $(VENV)/.ready   ## builds, charts and refusals against the programs that Flux itself uses
	@$(VENV)/bin/python -m pytest suites/oracle -q -n 2

oracle-nightly: $(VENV)/.ready   ## every pair of fixtures/ on a real control plane, the valid trees too
	@HOLDFAST_NIGHTLY=1 $(VENV)/bin/python -m pytest suites/oracle/test_rehearsal.py suites/oracle/test_foreign.py -q -n 2

schemas:         ## the Kubernetes schemas of `holdfast check`, from the OpenAPI document that the k8s.io/kubernetes module holds
	@cd clusters/images/kubernetes && v=$$(go list -mod=mod -m -f '{{.Version}}' k8s.io/kubernetes) && d=$$(go mod download -json k8s.io/kubernetes@$$v | \
	  sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && cd ../../.. && $(VENV)/bin/python -m holdfast.tree.schema $$d/api/openapi-spec/swagger.json $${v#v} holdfast/tree/schemas

# 0.33 still has what later modules have dropped.
lifecycle:       ## since when Kubernetes no longer serves a version of an API, from the Go types of its modules
	@d=$$(mktemp -d) && cd $$d && go mod init m 2>/dev/null && for m in api@v0.33.3 api@v0.37.2 apiextensions-apiserver@v0.37.2 kube-aggregator@v0.37.2; do \
	  go mod download -json k8s.io/$$m | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'; done > modules && cd - >/dev/null && \
	  $(VENV)/bin/python -m holdfast.tree.lifecycle holdfast/tree/schemas $$(cat $$d/modules); rm -rf $$d

bench: $(VENV)/.ready   ## ratios and widths, measured side by side
	@$(VENV)/bin/python -m suites.bench

# The environment: locked dependencies with hashes, made again when the lock changes. Where Debian's Python has no venv, apt brings it.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "holdfast needs Python 3.11 or newer: set PYTHON=…"; exit 64; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ $$(id -u) = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } || \
	  { echo "python3-venv is missing, and only root can install it: apt-get install python3-venv"; exit 64; }
	@echo "  ▸ setting up the virtual environment …"
	@began=$$(date +%s); $(PYTHON) -m venv --clear $(VENV) && \
	  $(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(VENV)/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@ && \
	  echo "  ✓ setting up the virtual environment ($$(( $$(date +%s) - began ))s)"

flux-crds:       ## Flux's custom resource definitions, of the reference tree and of the lane of processes, from Flux's Go types
	@clusters/kinds/make 2.9 go.mod && clusters/kinds/make 2.10 flux-2.10.mod && { \
	  echo "# Flux's custom resource definitions, made by controller-gen from the Go types of clusters/images/flux-crds ('make flux-crds')."; \
	  gunzip -c clusters/kinds/flux-2.9.yaml.gz; } > fixtures/gitops/clusters/home/flux-system/gotk-crds.yaml

clean:           ## the environment and the results; the built images stay
	@rm -rf $(VENV) reports/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
