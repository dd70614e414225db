"""What the installed package does for a user of no one, with nothing to write to and no network.

Run as a program by the interpreter that holds the package; prints what it found, as JSON.
"""

from __future__ import annotations

import json
import sys

import vram_widget as vw

MODEL = "ibm-granite/granite-3.3-2b-instruct"
UNKNOWN = "nobody/has-this-model"


def main() -> None:
    """Estimate, show, advise and export; then ask for a model that only the Hub could know."""
    est = vw.estimate(MODEL, training_method="lora", gpu="L40S")
    looked_up = "huggingface_hub" in sys.modules
    shown = vw.VRAMWidget(MODEL, gpu="L40S")._repr_mimebundle_()[0]
    try:
        vw.estimate(UNKNOWN, gpu="L40S")
        refused = ""
    except vw.ModelError as error:
        refused = str(error)
    found = {
        "figures": list(est),
        "looked_up": looked_up,
        "shown": sorted(shown),
        "largest": vw.largest(est.config, "micro_batch_size"),
        "exported": sorted(vw.export(est.config, "training_hub")),
        "refused": refused,
        "file": vw.__file__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
