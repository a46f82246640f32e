"""Reads HDF5 files with h5dump (Debian's hdf5-tools). For the tests of this folder. Standard library only."""
import array
import dataclasses
import re
import subprocess

DATATYPE, DATASPACE = re.compile(r'DATATYPE\s+(\S+)'), re.compile(r'DATASPACE\s+(SCALAR|SIMPLE \{ \( ([0-9, ]+) \))')


@dataclasses.dataclass
class Dataset:
    dtype: str  # HDF5's name: H5T_IEEE_F32LE
    shape: tuple
    values: array.array  # doubles, row after row; of whole numbers up to 2^53 and of fp32 and fp64 these are the bits

    def text(self):
        return bytes(map(int, self.values)).decode()


def read(path):
    """{path inside the file: Dataset} of all datasets. bfloat16 stands in the files as uint16 with its bits, and comes so."""
    done = subprocess.run(["h5dump", "-y", "-w", "0", "-A", "0", "-m", "%.17g", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"h5dump {path}: {done.stderr}")
    found, folders, lines = {}, [], iter(done.stdout.splitlines()[1:])
    for line in lines:
        line = line.strip()
        if line.startswith("GROUP"):
            folders.append(line.split('"')[1].strip("/"))
        elif line.startswith("DATASET"):
            found["/".join([name for name in folders if name] + [line.split('"')[1]])] = dataset(lines)
        elif line == "}" and folders:
            folders.pop()
    return found


def dataset(lines):
    """What follows `DATASET "name" {`, up to its end."""
    dtype, space = DATATYPE.match(next(lines).strip())[1], DATASPACE.match(next(lines).strip())
    assert next(lines).strip() == "DATA {"
    numbers = []
    for line in lines:
        line = line.strip().rstrip(",")
        if line == "}":
            break
        numbers.extend(line.split(", "))
    assert next(lines).strip() == "}"
    return Dataset(dtype, tuple(map(int, space[2].split(", "))) if space[2] else (), array.array("d", map(float, numbers)))
