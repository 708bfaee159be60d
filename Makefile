# make demo   the main job on a real Docker engine of its own: a container's data on a VMDK
# make test   everything: lint, types, import contracts, then all tests, with a real engine
# make bench  the table of figures, each beside its floor in the same run (a quarter of an hour, quiet machine; ARGS=--quick)
# All install what is missing first (Debian packages, .venv) and need root.

PY := .venv/bin/python
BOOTSTRAP := packaging/dev/bootstrap.sh
CODE := vmdkvol guest-agent/vmdkvol_guest esx-service/vmdkvol_esx tests
# Administrator's programs (mkfs, dockerd) are not on every user's path.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
# The tests start some thousand processes of the product: without its byte code each of them compiles it anew, for 80 ms.
unexport PYTHONDONTWRITEBYTECODE
# Options of pytest; of test, for each of its groups.
PYTEST_ARGS ?=
ARGS ?=

# Of test-engine: a plugin whose socket lies in /run/docker/plugins, and the options of its volumes. Ours by default.
DRIVER ?=
OPTS ?=
# Of soak-sim: how many steps, the first seed, and --shrink to have what is found made small.
STEPS ?= 50000
SEED ?= 0
SHRINK ?=
# Of test-esx: a service's settings with [vsphere], two datastores and two hosts; --dry takes a simulator for the endpoint.
SETTINGS ?= /etc/vmdkvol/service.toml
# Of map: only modules that have it in their name or purpose.
WORD ?=
# Of mutants: one defect of the list, or several; with --keep what came out is kept for the table.
NAME ?=

.PHONY: help map demo demo-vsphere demo-vm test-esx bench test lint unit soak-sim mutants storm bootstrap engines simulator scale test-engine guest test-system clean

help:
	@sed -n 's/^# //p' Makefile | head -4
	@echo 'make map [WORD=trash]   every module in one line, by layers: where is what'
	@echo 'make lint   only the static checks;  make unit   only the tests without processes, mounts and engine'
	@echo 'make soak-sim STEPS=N [SEED=N] [SHRINK=--shrink]   the simulation of agents, service and hypervisor for N steps, on every core'
	@echo 'make mutants [NAME=ID]   put each deliberate defect into a copy and see which check finds it (half an hour)'
	@echo 'make test-engine [DRIVER=name OPTS="size=1gb"]  the conformance suite on two Docker engines, ours or any plugin'
	@echo 'make engines  fetch the next Debian'"'"'s Docker engine and unpack it under .cache, for the tests'
	@echo 'make simulator  build the vSphere simulator of the tests under .cache (Go and govmomi of Debian)'
	@echo 'make demo-vsphere  the main job on a simulated vCenter: service, pyVmomi, agent and Docker engine are real'
	@echo 'make demo-vm  a database moves between two virtual machines with its data, with timings (two minutes, emulated)'
	@echo 'make test-esx [SETTINGS=FILE]  the hypervisor'"'"'s promises on a vCenter or ESXi host of your own; what it proved'
	@echo 'make storm  10,000 calls at once on the plugin socket, where make test has 2,000'
	@echo 'make scale  1,000, 10,000 and 100,000 volumes: times and memory, written to docs/reference/scale.md'
	@echo 'make test-system  virtual machines with PVSCSI disks, emulated: agent and engine are in them, the service is outside'
	@echo 'make guest  build the image of those machines under .cache (Debian packages, a minute)'
	@echo 'make clean  remove .venv and caches'

map: bootstrap
	@$(PY) -m tests.module_map $(WORD)

demo:
	@$(BOOTSTRAP) demo
	@$(PY) -m tests.demo

demo-vsphere: simulator
	@$(PY) -m tests.demo_vsphere $(ARGS)

demo-vm: guest
	@$(PY) -m tests.demo_vm

# The guests' images first: in the machine of its own that the bench runs in there is no way to Debian's packages.
bench: guest
	@$(BOOTSTRAP) bench
	@$(PY) -m tests.system.ready "$$(packaging/dev/guest.sh)" >/dev/null
	@$(PY) -m tests.bench $(ARGS)

bootstrap:
	@$(BOOTSTRAP) test

mutants: bootstrap
	@$(PY) -m tests.mutants $(NAME)
	@$(PY) -m tests.reference

engines: bootstrap
	@packaging/dev/engines.sh >/dev/null

simulator: bootstrap
	@packaging/dev/simulator.sh >/dev/null

# What is fetched waits for the network and what is built computes: beside each other, once the packages are there.
test:
	@$(BOOTSTRAP) system
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=line engines simulator guest lint
	@echo '== pytest: everything, four groups at a time; real Docker engines are in namespaces of their own'
	@$(PY) -m tests.groups $(PYTEST_ARGS)
	@echo 'make test: all of it passed'

test-engine: engines
	@$(PY) -m pytest -q --no-header -p no:cacheprovider tests/conformance/test_conformance.py --full \
	  $(if $(DRIVER),--driver '$(DRIVER)' --opts '$(OPTS)',--page docs/reference/conformance.md) $(PYTEST_ARGS)

guest:
	@$(BOOTSTRAP) system
	@packaging/dev/guest.sh >/dev/null

test-system: guest
	@echo '== pytest: the system in virtual machines'
	@$(PY) -m pytest -q --no-header -p no:cacheprovider tests/system $(PYTEST_ARGS) || [ $$? = 5 ]

test-esx: simulator
	@PYTHONPATH=.:guest-agent:esx-service $(PY) -m tests.vsphere.esx $(SETTINGS) $(PYTEST_ARGS)

lint: bootstrap
	@echo '== ruff check'; $(PY) -m ruff check .
	@echo '== ruff format'; $(PY) -m ruff format --check .
	@echo '== mypy'; $(PY) -m mypy $(CODE)
	@echo '== import contracts'; .venv/bin/lint-imports

unit: bootstrap
	@$(PY) -m pytest -q -m 'not integration' $(PYTEST_ARGS)

soak-sim: bootstrap
	@PYTHONPATH=.:guest-agent:esx-service $(PY) -m tests.simulation.soak $(STEPS) --first $(SEED) $(SHRINK)

storm: bootstrap
	@VMDKVOL_STORM_CALLS=10000 $(PY) -m pytest -q tests/daemons/test_floods.py $(PYTEST_ARGS)

scale: bootstrap
	@$(PY) -m tests.scale --write $(ARGS)

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
