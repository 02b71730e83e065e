"""Part "metric": from lines of a log to values, with 1, 10 and 40 definitions. SPDX-License-Identifier: Apache-2.0"""
import os
import pathlib
import random
import re
import subprocess
import time

from kit import ROOT, house, row, say

NOISE = [
    "{t} INFO  datasets.builder: Reusing dataset imagenet-1k (/opt/ml/input/data/train/cache-{n:05d}.arrow)",
    "{t} INFO  torch.distributed.launcher: [default] worker group {n} successful rendezvous at algo-1:29500",
    "{t} WARN  py.warnings: UserWarning: The given NumPy array is not writable, and PyTorch does not support non-writable tensors",
    "{t} INFO  dataloader: worker {n} prefetched shard part-{n:05d}.tar (81920 records, 412.7 MiB) in 1.{n:03d} s",
    "{t} DEBUG checkpoint: keeping the last 3 checkpoints, removing /opt/ml/checkpoints/step-{n}",
    "[rank{r}]: {t} DEBUG ddp: bucket {n} of 64 reduced, 25.0 MB, overlap 93%",
    "{t} INFO  transformers.modeling_utils: Some weights were not used when initializing the model: ['cls.predictions.bias']",
    "  warnings.warn(f'overflow encountered in cast, skipping batch {n}')",
    "    at trainer.loop.run(loop.py:{n}) inside fit() with max_steps=50000 accumulate=4 precision=bf16-mixed",
    "{t} INFO  s3fs: GET /bucket/train/part-{n:05d}.tar 206 8388608 bytes",
]
STEP = ("{t} INFO  trainer: epoch {e} step {n}/50000 train_loss={a:.4f} lr={b:.3e} grad_norm={c:.3f} "
        "throughput={d:.1f} samples/s mem={r}2.4GB")
EVAL = ("{t} INFO  evaluator: epoch {e} val_loss={a:.5f} val_acc={b:.4f} top5={c:.4f} f1={a:.4f} auc={b:.5f} "
        "precision={c:.4f} recall={a:.4f} perplexity={d:.3f}")
XGB = "[{n}]\ttrain-rmse:{a:.5f}\tvalidation-rmse:{c:.5f}"
BAR = "\rTraining: {p:3d}%|{bar:<20}| {n}/50000 [{e:02d}:12<03:15, {c:.2f}it/s]"

NAMED = ["val_loss", "val_acc", "lr", "grad_norm", "throughput", "top5", "f1", "auc", "precision", "recall", "perplexity",
         "bleu", "rouge1", "rougeL", "meteor", "map50", "map75", "iou", "dice", "wer", "cer", "mae", "mse", "rmse", "r2", "kl",
         "entropy", "reward", "episode_len", "fid", "ssim", "psnr", "ndcg", "mrr", "hit10"]


def definitions():
    """As people write them: the service's documentation, frameworks, built-in algorithms."""
    yield "train_loss", r"train_loss=([0-9\.]+)"
    for n in NAMED[:6]:
        yield n, rf"{n}=(\S+)"
    yield "validation:rmse", r".*\[[0-9]+\].*#011validation-rmse:(\S+)"
    yield "train:rmse", r".*\[[0-9]+\]#011train-rmse:(\S+)"
    yield "epoch_done", r"Epoch (\d+) finished"
    for n in NAMED[6:]:
        yield n, rf"{n}[=:]\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
    yield "quality", r"#quality_metric: host=\S+, epoch=\S+, train mse <loss>=(\S+)"


def write_log(path, size):
    """Mostly noise, a quarter steps, now and then an evaluation: one in 30 lines has a TAB or a carriage return."""
    r = random.Random(7)
    lines, n = [], 0
    while n < min(size, 32 << 20):
        kind = r.random()
        form = STEP if kind < 0.22 else EVAL if kind < 0.24 else XGB if kind < 0.26 else BAR if kind < 0.275 else r.choice(NOISE)
        i = r.randrange(50000)
        lines.append(form.format(t=f"2026-11-21 {i % 24:02d}:{i % 60:02d}:17,{i % 1000:03d}", n=i, r=i % 8, e=i % 90, a=r.random(),
                                 b=r.random() / 1000, c=r.random() * 10, d=r.random() * 3000, p=i // 500, bar="#" * (i // 2500)))
        n += len(lines[-1]) + 1
    block = ("\n".join(lines) + "\n").encode()
    with open(path, "wb") as f:
        for _ in range(max(1, size // len(block))):
            f.write(block)
    return os.path.getsize(path)


def by_python(path, defs, size):
    """As the emulators do it: each expression searched in each line."""
    compiled = [re.compile(p) for _, p in defs]
    with open(path, "rb") as f:
        text = f.read(size)
    lines = text[:text.rindex(b"\n")].decode().split("\n")
    begin, values = time.monotonic(), 0
    for line in lines:
        if "\t" in line:
            line = line.replace("\t", "#011")
        for c in compiled:
            if m := c.search(line):
                try:
                    float(m[1])
                    values += 1
                except ValueError:
                    pass
    return size / (time.monotonic() - begin), values


def build(base):
    libs = sorted(map(str, house.BUILD.glob("libbl_*.a")))
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", f"-I{ROOT}/src", "-o", base / "metric", ROOT / "test/bench/metric.c",
                    "-Wl,--start-group", *libs, "-Wl,--end-group", "-Wl,--as-needed", "-lpcre2-8", "-ljansson", "-lcrypto", "-lz",
                    "-lzstd", "-lpthread", "-lm"], check=True)


def bench_metric(base, quick):
    base = pathlib.Path(base)
    build(base)
    text = base / "training.log"
    size = write_log(text, (64 << 20) if quick else (1 << 30))
    every = list(definitions())
    assert len(every) == 40
    for n in 1, 10, 40:
        file = base / "definitions"
        file.write_text("".join(f"{name} {regex}\n" for name, regex in every[:n]))
        got = {}
        for way in "ours", "pcre2", "log":
            say(f"metric: {n} definitions, {way}")
            out = subprocess.run([base / "metric", way, text, file], capture_output=True, text=True, check=True).stdout.split()
            got[way] = size / float(out[0]), out[1]
            for leaf in base.glob("training.log.*"):
                leaf.unlink()
        if len({v for _, v in got.values()}) != 1:
            raise RuntimeError(f"not the same values: {got}")
        say(f"metric: {n} definitions, Python")
        python, _ = by_python(text, every[:n], min(size, (4 if quick else 16) << 20))
        for way, what in ("ours", "lines to values"), ("log", "stored log to stored values"):
            row(f"{what}, {n} definition{'s' * (n > 1)}", got[way][0], got["pcre2"][0], "PCRE2 JIT one by one",
                ">= 10" if n == 40 else "", "B/s")
            row(f"{what}, {n} definition{'s' * (n > 1)}", got[way][0], python, "Python re", ">= 100" if n == 40 else "", "B/s")
    text.unlink()
