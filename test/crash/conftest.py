# The crash tests live in the same house as the spec tests. SPDX-License-Identifier: Apache-2.0
import importlib.util
import pathlib
import sys

spec = importlib.util.spec_from_file_location("house", pathlib.Path(__file__).resolve().parents[1] / "spec/conftest.py")
house = importlib.util.module_from_spec(spec)
sys.modules["house"] = house
spec.loader.exec_module(house)
rootfs, make_server = house.rootfs, house.make_server
