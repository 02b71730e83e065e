# Verbs. The build itself is meson.build.  SPDX-License-Identifier: Apache-2.0
.PHONY: all check asan clang spec crash fuzz bench lint format gen clean
all: build/build.ninja
	ninja -C build
build/build.ninja:
	meson setup build
check: all
	meson test -C build --print-errorlogs
	$(MAKE) lint
asan:
	test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false
	ninja -C build-asan && meson test -C build-asan --print-errorlogs
clang:
	test -f build-clang/build.ninja || CC=clang meson setup build-clang -Db_lundef=false
	ninja -C build-clang && meson test -C build-clang --print-errorlogs
spec: all
	python3 -B -m pytest -q test/spec
crash: all
	python3 -B -m pytest -q test/crash
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
