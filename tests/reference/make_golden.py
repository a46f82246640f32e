"""The goldens of whole runs (tests/data/golden), made by a program whose results are trusted: tests/end_to_end/golden_test.py compares every later one
with them.

CASE.json: `made_on` (processor, LibTorch and libc: where they are the same, bytes are compared too) and `record` (tests/end_to_end/golden_runs.py says
what is in it). Each case is run twice, and nothing is written where the two differ. Make them anew, and say so in the commit, only where results are meant
to change:

    python3 tests/reference/make_golden.py build/cpu/bin/magicid
    python3 tests/reference/make_golden.py build/cpu/bin/magicid two_ranks pair     # only these
"""
import argparse
import json
import pathlib
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/end_to_end"))
import golden_runs
from launcher import Launcher


def text(value):
    """One line for each name, so that a change of the goldens can be read."""
    parts = []
    for kind, entries in value["record"].items():
        lines = ",\n".join(f"   {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        parts.append(f"  {json.dumps(kind)}: {{\n{lines}\n  }}")
    return f'{{\n "made_on": {json.dumps(value["made_on"])},\n "record": {{\n' + ",\n".join(parts) + "\n }\n}\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    given = parser.parse_args()
    launcher = Launcher(given.program.resolve(), PROJECT, limit=600)
    for case in given.cases or golden_runs.CASES:
        records = []
        for _ in range(2):
            with tempfile.TemporaryDirectory(prefix="magicid-golden-") as folder:
                model = pathlib.Path(folder) / "model"
                launcher.run(["init-model", "--size", "tiny", "--seed", "1", model], **golden_runs.PINNED)
                records.append(golden_runs.make(launcher, case, pathlib.Path(folder), model))
        errors, _ = golden_runs.differences(case, *records, same_surroundings=True)
        if errors:
            sys.exit("two runs of one program differ, nothing is written:\n" + "\n".join(errors))
        (PROJECT / f"tests/data/golden/{case}.json").write_text(text({"made_on": golden_runs.surroundings(PROJECT), "record": records[0]}))
        print(f"wrote tests/data/golden/{case}.json", flush=True)


if __name__ == "__main__":
    main()
