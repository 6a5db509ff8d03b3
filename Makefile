# The same commands on a laptop and in CI; `make` alone lists them.
#   make test ARGS="-k metrics"        hands arguments on to pytest
#   make setup PYTHON=python3.12       chooses the Python of .venv: 3.11, 3.12 or 3.13

EXTRAS := litert,train,export,bench,scale,docs,dev
PY := .venv/bin/python
STUDENT := build/demo/chain/student
ARGS ?=
INIT ?= timm tf_efficientnet_lite0=pypi

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow fuzz pareto apk dist check format constraints clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make or mend .venv, with all that demo and tests need
	@sh -c "$$SETUP"

demo: setup ## run the main job end to end on data the code draws itself
	$(PY) -m train.demo --out build/demo
	$(PY) -m export.tflite --checkpoint $(STUDENT) --out build/demo/student.tflite --overwrite
	$(PY) -m export.tflite --checkpoint $(STUDENT) --precision int8 --calibration build/demo/data \
		--data build/demo/data --out build/demo/student_int8.tflite --keep-failed --overwrite \
		|| test $$? -eq 1 # 1: the verdict is no, and the file is set aside
	$(PY) -m export.onnx --checkpoint $(STUDENT) --out build/demo/student.onnx --overwrite
	$(PY) -m export.coreml --checkpoint $(STUDENT) --out build/demo/student.mlpackage --overwrite
	$(PY) -m edge_bench.run --data build/demo/data --target local --artifact \
		build/demo/student.tflite $$(ls -t build/demo/student_int8*.tflite 2>/dev/null | head -n 1) \
		--out build/demo/bench.json --overwrite || test $$? -eq 1 # 1: measured, a verdict is no
	$(PY) -m edge_bench.report build/demo/bench.json --out build/demo/report.html --overwrite

test: setup ## run the tests that need nothing but this machine
	$(PY) -m pytest $(ARGS)

test-slow: setup ## run the tests marked slow or device
	$(PY) -m pytest -m "slow or device" $(ARGS) || test $$? -eq 5 # 5: no test has these marks

fuzz: setup ## a thousand harmed files of each reader; ARGS="--reader pictures --first 5000"
	$(PY) -m tests.hard_inputs.fuzz $(ARGS)

pareto: setup ## compare students and sizes on runs/chain: hours; INIT="timm STUDENT=FILE"
	$(PY) -m edge_bench.pareto --data data/portraits/labelled --pseudo runs/chain/u1 runs/chain/u2 \
		--teacher runs/chain/teacher_plus --init $(INIT) --out runs/pareto $(ARGS)

check: setup ## check format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	@if command -v java >/dev/null && command -v mvn >/dev/null; \
	then $(PY) -m android_demo.build lint; \
	else echo "ktlint skipped: java or mvn is missing"; fi

apk: setup ## build, sign and check the Android app; ARGS="--model FILE" puts a model in
	$(PY) -m android_demo.build apk $(ARGS)

dist: setup ## build the wheel with the Android app inside, into dist
	$(PY) -m android_demo.build apk --out edge_bench/runner/fiqa.apk $(ARGS)
	.venv/bin/uv build --quiet --wheel --no-build-isolation --python $(PY) --out-dir dist; \
		status=$$?; rm -f edge_bench/runner/fiqa.apk; exit $$status

format: setup ## format the code and mend what lint can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

constraints: setup ## pin the newest versions that go together into constraints.txt
	@mkdir -p build
	MACOSX_DEPLOYMENT_TARGET=14.0 .venv/bin/uv pip compile --quiet --upgrade --universal \
		--all-extras --fork-strategy fewest --only-binary :all: --python-version 3.11 \
		--no-annotate --no-header --no-emit-index-url pyproject.toml -o build/pins.txt
	{ sed -n '/^#/p' constraints.txt; sed 's/ *;.*//' build/pins.txt; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean: ## remove what these commands made; .venv stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# One script, because it is one transaction: .venv/.ready tells from what .venv was made, and
# .venv/.incomplete is there from the first step to the last, so that a set-up which was cut short
# starts anew. uv does the installing: it takes a quarter of pip's time.
define SETUP
set -eu
candidates='$(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)'
suitable='import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))'
say() { echo "setup: $$*" >&2; }

minor_of() { "$$1" -c 'import sys; print(sys.version_info[:2])' 2>&1; }
as_asked() { [ -z '$(PYTHON)' ] || [ "$$(minor_of $(PY))" = "$$(minor_of '$(PYTHON)')" ]; }
usable() { [ ! -e .venv/.incomplete ] && $(PY) -c "$$suitable" 2>/dev/null && as_asked; }

state=$$({ pwd; echo '$(EXTRAS)'; cat pyproject.toml constraints.txt; } | cksum)
if usable && [ "$$(cat .venv/.ready 2>/dev/null)" = "$$state" ]; then exit 0; fi

find_python() {
	for python in $$candidates; do
		if "$$python" -c "$$suitable" 2>/dev/null; then
			# Not the Python of an environment that is active, for that may be .venv itself.
			python=$$("$$python" -c 'import sys; print(sys._base_executable)')
			return 0
		fi
	done
	say "no suitable Python among: $$candidates"
	say "  expected: Python 3.11, 3.12 or 3.13"
	say "  try: make setup PYTHON=/path/to/python3.12"
	exit 2
}

install_uv() {
	if "$$python" -m pip --version >/dev/null 2>&1; then
		"$$python" -m pip --python $(PY) install --quiet -c constraints.txt uv
	elif $(PY) -m ensurepip >/dev/null 2>&1; then
		$(PY) -m pip install --quiet -c constraints.txt uv
	else
		say "$$python has neither pip nor ensurepip"
		say "  try: apt-get install python3-pip"
		exit 2
	fi
}

# What pip was told, uv shall know too: index, local wheels, certificates, patience.
pip_setting() { "$$python" -m pip config get "global.$$1" 2>/dev/null || true; }
hand_on() { if [ -n "$$2" ]; then eval "export $$1=\"\$${$$1:-\$$2}\""; fi; }
hand_on_pip_settings() {
	hand_on UV_DEFAULT_INDEX "$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$(pip_setting index-url)}}"
	hand_on UV_EXTRA_INDEX_URL "$${PIP_EXTRA_INDEX_URL:-$$(pip_setting extra-index-url)}"
	links=$${PIP_FIND_LINKS:-$$(pip_setting find-links)}
	hand_on UV_FIND_LINKS "$$(echo $$links | tr ' ' ',')"
	hand_on SSL_CERT_FILE "$${PIP_CERT:-$$(pip_setting cert)}"
	hand_on UV_HTTP_TIMEOUT "$${PIP_DEFAULT_TIMEOUT:-$$(pip_setting timeout)}"
	export UV_SYSTEM_CERTS="$${UV_SYSTEM_CERTS:-true}"
}

find_python
if ! usable; then
	say "making .venv with $$("$$python" --version)"
	rm -rf .venv
	mkdir .venv
	touch .venv/.incomplete
	"$$python" -m venv --without-pip .venv
fi
touch .venv/.incomplete
install_uv
hand_on_pip_settings
.venv/bin/uv pip install --python $(PY) -c constraints.txt --build-constraints constraints.txt \
	--editable '.[$(EXTRAS)]'
echo "$$state" > .venv/.ready
rm .venv/.incomplete
endef
export SETUP
