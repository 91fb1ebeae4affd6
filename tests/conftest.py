"""What every test starts from: one thread, and a random state of its own.

With `DIFFEO_TYPECHECK=1` every annotation of the library is checked at run time (beartype); what
traces the library's code (compile, export) is then left out, since the checks can't be traced.
"""

import os

# Some virtual machines announce AMX and do not have it: products in bfloat16 then end the process
# with an illegal instruction. Read by oneDNN at its first product, here and in processes started.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

import pytest
import torch

TYPECHECK = os.environ.get("DIFFEO_TYPECHECK") == "1"
if TYPECHECK:
    from beartype import BeartypeConf
    from beartype.claw import beartype_package

    # Some register torch's operators, which a checked function is not, or name types that they
    # never import; commands import what their annotations name only when they run.
    beartype_package(
        "diffeo",
        conf=BeartypeConf(
            claw_skip_package_names=(
                *("diffeo.noise", "diffeo.nets.masked", "diffeo.scalars.spline_fast"),
                *("diffeo.scalars.spline_kernel", "diffeo.scalars.spline_planes"),
                "diffeo.cli",
            ),
            is_pep484_tower=True,  # a whole number is a float to every type checker
        ),
    )

# One thread a process: results don't depend on how sums are shared out, and processes side by
# side don't fight over cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed():
    """Every test draws the same numbers, whichever tests ran before it."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    """Leaves out what can't run under run-time type checks."""
    if TYPECHECK:
        skip = pytest.mark.skip(reason="run-time type checks can't be traced")
        for item in items:
            if "traced" in item.keywords:
                item.add_marker(skip)
