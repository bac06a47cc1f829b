"""Requests a second and how long they take, beside what the bare network does in one process.

    python benchmarks/serving.py                   # the default, on the photograph of `amiss demo`
    python benchmarks/serving.py --model part.amiss --images parts/new
    python benchmarks/serving.py --write           # also results/serving.json and results/serving.md

One image a request, over connections that are kept, from clients on the same machine, which take their share of its
processors. `file` sends a PNG to /models/NAME/score, `tensor` bytes to /v2/models/NAME/infer. The bare network is given
prepared images in memory, a batch at a time, and neither decodes nor decides.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

import amiss
from amiss.data.examples import make_example
from amiss.data.preprocessing import to_float
from amiss.environment import versions

RESULTS = Path(__file__).parent.parent / "results"
CLIENTS = (1, 8, 64)
SEED = 0


class Sent(NamedTuple):
    """A request, but for its connection."""

    path: str
    headers: dict[str, str]
    body: bytes


def file_request(name: str, picture: bytes) -> Sent:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return Sent(f"/models/{name}/score", headers, head + picture + b"\r\n--x--\r\n")


def tensor_request(name: str, image: np.ndarray) -> Sent:
    pixels = image if image.ndim == 3 else image[:, :, None]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *pixels.shape]}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "score"}, {"name": "is_anomaly"}]}).encode()
    return Sent(
        f"/v2/models/{name}/infer", {"Inference-Header-Content-Length": str(len(head))}, head + pixels.tobytes()
    )


def bare_rate(model: amiss.FittedModel, seconds: float) -> float:
    """Images a second of the engine alone, in full batches, after one that does not count."""
    batch = to_float(model.reference[np.arange(model.batch_size) % len(model.reference)])
    model.engine.run(batch)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        model.engine.run(batch)
        count += len(batch)
    return count / (time.perf_counter() - start)


@contextlib.contextmanager
def serving(path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "amiss", "serve", str(path), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            told += process.stdout.readline()
        yield json.loads(told)["address"]
        process.terminate()


def load(address: str, requests: list[Sent], clients: int, seconds: float) -> dict[str, float]:
    """What `clients`, each of whom waits for an answer before asking again, get in so many seconds after a warm-up."""
    host = urlsplit(address).netloc
    taken: list[list[float]] = [[] for _ in range(clients)]
    begin = time.perf_counter() + 0.2 * seconds
    end = begin + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(host, timeout=60)
        turn = number
        while (start := time.perf_counter()) < end:
            sent = requests[turn % len(requests)]
            connection.request("POST", sent.path, sent.body, sent.headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the service answered {answer.status}: {content[:200]!r}")
            if begin <= (done := time.perf_counter()) < end:
                taken[number].append(done - start)
            turn += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.array([each for one in taken for each in one])
    p50, p99 = np.quantile(every, (0.5, 0.99))
    return {"per_second": len(every) / seconds, "p50_ms": 1000 * float(p50), "p99_ms": 1000 * float(p99)}


def measured(path: Path, images: str | Path, seconds: float) -> dict[str, Any]:
    model = amiss.load(path, without_torch=True)
    collection = amiss.open_images(images, "score")
    sample = [item.read() for item in collection[:64]]
    files = [Path(item.name).read_bytes() for item in collection[:64]]
    rows: dict[str, Any] = {}
    bare = bare_rate(model, seconds)
    print(f"bare network: {bare:.1f} images/s", flush=True)
    with serving(path) as address:
        kinds = {
            "file": [file_request(path.stem, each) for each in files],
            "tensor": [tensor_request(path.stem, each) for each in sample],
        }
        for kind, requests in kinds.items():
            for clients in CLIENTS:
                found = load(address, requests, clients, seconds)
                rows[f"{kind}, {clients}"] = found | {"share": found["per_second"] / bare}
                print(kind, clients, {name: round(value, 2) for name, value in found.items()}, flush=True)
    height, width = sample[0].shape[:2]
    facts = {"machine": versions.machine(), "method": model.label, "images": f"{height}x{width}", "seconds": seconds}
    return {**facts, "bare": bare, "rows": rows}


def as_page(found: dict[str, Any]) -> str:
    lines = [
        "# Serving",
        "",
        f"Machine: {found['machine']}; the clients run on it, too. {found['method']} on pictures of {found['images']} "
        f"pixels, seed {SEED}, {found['seconds']:g} s each. Command: `python benchmarks/serving.py --write`.",
        "",
        f"The bare network, in one process on batches in memory: **{found['bare']:.1f}** images a second.",
        "",
        "| sent, clients | requests a second | of the bare network | p50, ms | p99, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in found["rows"].items():
        values = f"{row['per_second']:.1f} | {row['share']:.2f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f}"
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, images = options.model, options.images
        if path is None or images is None:
            example = make_example("brick", SEED)
            example.write(Path(folder))
            detector = amiss.Panel(seed=SEED, false_alarm_rate=0.05).fit(Path(folder) / "good")
            path, images = detector.save(Path(folder) / "brick.amiss"), Path(folder) / "test"
        found = measured(path, images, options.seconds)
    if options.write:
        (RESULTS / "serving.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "serving.md").write_text(as_page(found), encoding="utf-8")
    else:
        print(as_page(found))


if __name__ == "__main__":
    main()
