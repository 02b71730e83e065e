"""Training jobs by AlgorithmName: what checking one against an algorithm with 100 hyperparameters takes.

SPDX-License-Identifier: Apache-2.0
"""
import json
import statistics
import subprocess
import time

from kit import ROOT, house, row, say

AIM = 200e-6


def build(base):
    libs = sorted(map(str, house.BUILD.glob("libbl_*.a")))
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", f"-I{ROOT}/src", "-o", base / "algorithm", ROOT / "test/bench/algorithm.c",
                    "-Wl,--start-group", *libs, "-Wl,--end-group", "-Wl,--as-needed", "-lpcre2-8", "-ljansson", "-lcrypto", "-lz",
                    "-lpthread", "-lm"], check=True)


def specification():
    bounds = {"MinValue": "0", "MaxValue": "1000"}
    kinds = [("Integer", {"IntegerParameterRangeSpecification": bounds}), ("Continuous", {"ContinuousParameterRangeSpecification": bounds}),
             ("Categorical", {"CategoricalParameterRangeSpecification": {"Values": [str(v) for v in range(30)]}})]
    return {"TrainingImage": "busy", "SupportedTrainingInstanceTypes": ["ml.m5.large"],
            "SupportedHyperParameters": [{"Name": f"h{i}", "Type": kinds[i % 3][0], "Range": kinds[i % 3][1]} for i in range(100)],
            "TrainingChannels": [{"Name": "train", "SupportedContentTypes": [], "SupportedInputModes": ["File"]}]}


def refused(wire, body, headers, n):
    """The median of a request that is refused, over one connection."""
    took = []
    for _ in range(n):
        begin = time.monotonic()
        wire.conn.request("POST", "/", body, headers)
        r = wire.conn.getresponse()
        text = r.read()
        took.append(time.monotonic() - begin)
        if r.status != 400:
            raise RuntimeError(text.decode())
    return statistics.median(took), text.decode()


def bench_algorithm(s, wire, base, quick):
    build(base)
    good, bad, parsed = map(float, subprocess.run([base / "algorithm"], capture_output=True, text=True, check=True).stdout.split())
    row("job against 100 hyperparameters, good", good, AIM, "200 microseconds", "< 1", "s")
    row("job against 100 hyperparameters, 104 errors", bad, AIM, "200 microseconds", "< 1", "s")
    row("algorithm of 100 hyperparameters, parsed", parsed, AIM, "200 microseconds", "", "s")
    say("requests")
    s.sm.create_algorithm(AlgorithmName="bench", TrainingSpecification=specification())
    try:
        r = s.request(AlgorithmSpecification={}, HyperParameters={f"h{i}": "7" for i in range(100)} | {"h99": "1001"})
        del r["AlgorithmSpecification"]["TrainingImage"]
        times = []
        for name, word in (("bench", "Invalid value: '1001'"), ("none-such", "does not exist")):
            r["AlgorithmSpecification"]["AlgorithmName"] = name
            body = json.dumps(r).encode()
            took, text = refused(wire, body, wire.headers("CreateTrainingJob", body), 200 if quick else 2000)
            if word not in text:
                raise RuntimeError(text)
            times.append(took)
        row("CreateTrainingJob refused by its algorithm, p50", *times, "no such algorithm", "", "s")
    finally:
        s.sm.delete_algorithm(AlgorithmName="bench")
