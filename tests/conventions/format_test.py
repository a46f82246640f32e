#!/usr/bin/env python3
"""Whether every C++ and CUDA file is as clang-format leaves it (.clang-format: 160 columns; the pinned wheel of launch/wheels.cpu).

Usage: format_test.py [ROOT [CLANG_FORMAT]]      exit code 1 and the first places that differ; 77 where the pinned clang-format is not there
Mend with: .deps/python/bin/clang-format -i FILE
"""
import re
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
FOLDERS = ("src", "tests", "bench", "cmake")


def files_of(root):
    return sorted(p for folder in FOLDERS for p in (root / folder).rglob("*") if p.suffix in SUFFIXES)


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    program = Path(sys.argv[2]) if len(sys.argv) > 2 else root / ".deps/python/bin/clang-format"
    if not program.exists():
        print(f"{program}: not there; launch/bootstrap installs it")
        return 77
    wanted = re.search(r"^clang-format==(\S+)", (root / "launch/wheels.cpu").read_text(), re.M).group(1)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if wanted not in version:
        print(f"{program}: is {version.strip()}, and launch/wheels.cpu names {wanted}")
        return 1
    files = files_of(root)
    if not files:
        print(f"{root}: no C++ files in {', '.join(FOLDERS)}")
        return 1
    done = subprocess.run([program, "--dry-run", "--Werror", "--ferror-limit=1", *files], capture_output=True, text=True, cwd=root)
    if done.returncode == 0:
        print(f"format: {len(files)} files are as clang-format {wanted} leaves them")
        return 0
    places = [line for line in done.stderr.splitlines() if "error:" in line]
    print("\n".join(places[:20]) or done.stderr[-2000:])
    print(f"{len(places)} files differ; mend with: {program} -i FILE")
    return 1


if __name__ == "__main__":
    sys.exit(main())
