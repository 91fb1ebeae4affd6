"""Kills training again and again, and says what it found: run by `test_kill.py`.

One process imports the library and forks the runs, with a single thread when it does.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

from diffeo.train.checkpoint import read_checkpoint
from tests.train.resumable import Stateful, plain, train

KILLS = 20
IN_WRITING = 5
"""Kills go on until so many hit a writer."""
STEPS = 400
"""More than a fast machine does between so many kills."""
BALLAST = 400_000
"""Five copies of these floats make a file whose writing takes as long as a few steps."""


def run(path, out, **options):
    torch.manual_seed(0)
    model = Stateful(ballast=BALLAST)
    history = train(model, path, max_steps=STEPS, evaluate_every=10, patience=99, **options)
    state = {name: value.double().sum().item() for name, value in model.state_dict().items()}
    out.write_text(json.dumps([plain(history), state, model.loc.tolist()]))


def child(work):
    """The id of a forked process that does some work, and ends."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def temporary_files(path):
    return sorted(path.parent.glob(f".{path.name}.*.tmp"))


def kill_again_and_again(path, out, seed):
    """Stops each run at a random instant, looks whether it was writing, and kills it."""
    instants = random.Random(seed)
    killed, writing, steps = 0, 0, [0]
    while killed < KILLS or (writing < IN_WRITING and killed < 4 * KILLS):
        pid = child(lambda: run(path, out, resume=path.exists()))
        time.sleep(instants.uniform(0.0, 0.25) if killed else 0.5)
        os.kill(pid, signal.SIGSTOP)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break  # it came to its end
        in_writing = bool(temporary_files(path))
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        killed, writing = killed + 1, writing + in_writing
        if path.exists():
            steps.append(read_checkpoint(path)[1]["tally"]["steps"])
    return {"killed": killed, "in_writing": writing, "steps": steps}


def on_a_full_disk(path, out):
    """Goes on from the checkpoint with no room for another one."""
    before = path.read_bytes()

    def work():
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("once")
            run(path, out, resume=True)
        (path.parent / "told.json").write_text(json.dumps([str(w.message) for w in caught]))

    code = ended(child(work))
    return {
        "code": code,
        "told": json.loads((path.parent / "told.json").read_text()),
        "unchanged": path.read_bytes() == before,
        "left": len(temporary_files(path)),
    }


def main(folder, seed):
    torch.set_num_threads(1)
    whole, parts, full = (folder / f"{name}.json" for name in ("whole", "parts", "full"))
    run(None, whole)
    path = folder / "run.safetensors"
    told = {"threads": len(os.listdir("/proc/self/task")), "of": STEPS}
    told |= kill_again_and_again(path, parts, seed)
    told["full"] = on_a_full_disk(path, full)
    told["code"] = ended(child(lambda: run(path, parts, resume=True)))
    told["left"] = len(temporary_files(path))
    told["equal"] = [
        json.loads(p.read_text()) == json.loads(whole.read_text()) for p in (parts, full)
    ]
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
