# Verbs. The build itself is meson.build.  SPDX-License-Identifier: Apache-2.0
.PHONY: all check asan clang spec crash fuzz bench lint format gen clean
all: build/build.ninja
	ninja -C build
# tools/list-sources reads these folders, so a file that came or went (their time of change) needs meson again.
tree = meson.build meson_options.txt layers.txt tools/list-sources $(wildcard src/*/.) test/unit/. test/fuzz/.
build/build.ninja: $(tree)
	meson setup $(if $(wildcard $@),--reconfigure) build
build-asan/build.ninja: $(tree)
	meson setup $(if $(wildcard $@),--reconfigure) build-asan -Db_sanitize=address,undefined -Db_lundef=false
build-clang/build.ninja: $(tree)
	CC=clang meson setup $(if $(wildcard $@),--reconfigure) build-clang -Db_lundef=false
check: all
	meson test -C build --print-errorlogs
	$(MAKE) lint
asan: build-asan/build.ninja
	ninja -C build-asan && meson test -C build-asan --print-errorlogs
clang: build-clang/build.ninja
	ninja -C build-clang && meson test -C build-clang --print-errorlogs
# Debian's Python, which has Debian's boto3.
spec: all
	/usr/bin/python3 -B -m pytest -q -p no:cacheprovider test/spec
crash: all
	/usr/bin/python3 -B -m pytest -q -p no:cacheprovider test/crash
fuzz:
	tools/run-fuzz
bench: all
	test/bench/run
lint:
	tools/lint
format:
	git ls-files 'src/*.[ch]' 'test/*.[ch]' 'examples/*.[ch]' | grep -v '\.gen\.' | xargs clang-format -i
gen:
	tools/gen-model
clean:
	rm -rf build build-asan build-clang build-fuzz
