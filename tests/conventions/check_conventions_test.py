#!/usr/bin/env python3
"""The checker itself: a small tree that keeps the conventions passes, and each planted violation is found in its file."""
import tempfile
import unittest
from pathlib import Path

from check_conventions import check

GOOD = {
    "src/CMakeLists.txt": "foreach(room base config comm storage\n    models/nn app)\nendforeach()\n",
    "src/base/CMakeLists.txt": "magicid_room(base SOURCES a.cpp LIBRARIES xxhash)\n",
    "src/base/a.h": "#pragma once\n#include <string>\n",
    "src/base/log.cpp": "#include <spdlog/spdlog.h>\n",
    "src/config/CMakeLists.txt": "magicid_room(config SOURCES c.cpp ROOMS base)\n",
    "src/config/c.h": "#include <yaml-cpp/yaml.h>\n",
    "src/comm/CMakeLists.txt": "magicid_room(comm SOURCES m.cpp ROOMS config LIBRARIES magicid::mpi)\n",
    "src/comm/m.cpp": '#include <mpi.h>\n#include <nccl.h>\n#include "base/a.h"\n#include "config/c.h"\n',
    "src/comm/m.h": "#pragma once\n",
    "src/storage/CMakeLists.txt": "magicid_room(storage SOURCES s.cpp ROOMS base)\n",
    "src/storage/s.cpp": '#include <hdf5.h>\n#include <ATen/core/Tensor.h>\n#include "base/a.h"\n',
    "src/models/nn/CMakeLists.txt": "magicid_room(models/nn SOURCES n.cpp ROOMS base storage)\n",
    "src/models/nn/n.cpp": '#include "models/nn/n.h"\n#include "base/a.h"\n',
    "src/models/nn/n.h": "#pragma once\n",
    "docs/architecture.md": "`base/` `config/` `comm/` `storage/` `models/` `nn/`\n",
    "launch/go": "#!/bin/sh\nexec true /usr/bin/env\n",
}


class Conventions(unittest.TestCase):
    def problems(self, changes, shared_names=frozenset()):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**GOOD, **changes}.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check(Path(folder), shared_names)

    def expect(self, changes, *parts):
        problems = self.problems(changes)
        self.assertEqual(len(problems), 1, problems)
        for part in parts:
            self.assertIn(part, problems[0])

    def test_a_good_tree_passes(self):
        self.assertEqual(self.problems({}), [])

    def test_include_upwards(self):
        self.expect({"src/base/b.cpp": '#include "comm/m.h"\n'}, "src/base/b.cpp:1", "comm/m.h")

    def test_include_of_a_room_that_is_not_declared(self):
        self.expect({"src/models/nn/x.cpp": '\n#include "config/c.h"\n'}, "src/models/nn/x.cpp:2", "not among the rooms")

    def test_include_of_a_room_that_serves_another_file(self):
        rooms = {"src/CMakeLists.txt": GOOD["src/CMakeLists.txt"].replace("models/nn app", "models/nn pretraining commands app"),
                 "src/pretraining/CMakeLists.txt": "magicid_room(pretraining SOURCES p.cpp)\n", "src/pretraining/p.h": "#pragma once\n", "src/pretraining/p.cpp": '#include "pretraining/p.h"\n',
                 "src/commands/CMakeLists.txt": "magicid_room(commands SOURCES pretrain.cpp ROOMS pretraining)\n", "src/commands/pretrain.cpp": '#include "pretraining/p.h"\n',
                 "docs/architecture.md": GOOD["docs/architecture.md"] + "`pretraining/` `commands/`\n"}
        self.assertEqual(self.problems(rooms), [])
        self.expect({**rooms, "src/commands/run.cpp": '#include "pretraining/p.h"\n'}, "src/commands/run.cpp:1", "src/commands/pretrain.cpp alone")

    def test_include_that_is_no_file(self):
        self.expect({"src/base/b.cpp": '#include "a.h"\n'}, "src/base/b.cpp:1", "room/file.h")
        self.expect({"src/base/b.cpp": '#include "base/gone.h"\n'}, "src/base/b.cpp:1")

    def test_rooms_declared_upwards_or_unknown(self):
        self.expect({"src/config/CMakeLists.txt": "magicid_room(config SOURCES c.cpp ROOMS base storage)\n"}, "src/config/CMakeLists.txt", "storage")
        self.expect({"src/config/CMakeLists.txt": "magicid_room(config SOURCES c.cpp ROOMS base cellar)\n"}, "cellar")
        self.expect({"src/extra/CMakeLists.txt": "magicid_room(extra SOURCES e.cpp)\n"}, "src/extra/CMakeLists.txt", "extra")

    def test_libraries_stay_in_their_rooms(self):
        for header in ("mpi.h", "nccl.h", "hdf5.h", "yaml-cpp/yaml.h", "opencv2/core.hpp", "libavcodec/avcodec.h", "libswscale/swscale.h", "spdlog/spdlog.h"):
            with self.subTest(header):
                self.expect({"src/models/nn/x.cpp": f"#include <{header}>\n"}, "src/models/nn/x.cpp:1", "only in src/")
        self.expect({"src/base/b.cpp": "#include <spdlog/spdlog.h>\n"}, "src/base/b.cpp:1", "base/log.cpp")
        self.expect({"src/base/b.cpp": "#include <ATen/core/Tensor.h>\n"}, "LibTorch")
        self.expect({"src/storage/t.cpp": "#include <torch/torch.h>\n"}, "torch/torch.h")

    def test_type_names(self):
        two = {"src/comm/m.h": "#pragma once\nstruct Layout;\nstruct Layout {\n  struct Row {};\n};\n",
               "src/models/nn/n.h": "#pragma once\nclass Layout : public Base {\n  struct Row {};\n};\n"}
        self.expect(two, "src/models/nn/n.h:2", "Layout", "src/comm/m.h:3")
        self.assertEqual(self.problems(two, {"Layout"}), [])
        # A file's own types have the file around them; a forward declaration is no second type.
        one = {"src/comm/m.h": "#pragma once\nenum class Kind { a };\n", "src/base/b.cpp": "struct Kind {\n};\n", "src/base/a.h": "#pragma once\nenum class Kind;\n"}
        self.assertEqual(self.problems(one), [])
        self.assertIn("take it out", self.problems({}, {"Layout"})[0])

    def test_long_files(self):
        self.assertEqual(self.problems({"src/base/b.cpp": "\n" * 600}), [])
        self.expect({"src/base/b.cpp": "\n" * 601}, "src/base/b.cpp:601", "601 lines")

    def test_marks_of_unfinished_work(self):
        self.expect({"launch/go": "true # " + "TO" + "DO later\n"}, "launch/go:1")
        self.expect({"src/base/b.cpp": "// " + "FIX" + "ME\n"}, "src/base/b.cpp:1")

    def test_machine_paths(self):
        self.expect({"docs/x.md": "see /ho" + "me/jane/data\n"}, "docs/x.md:1")
        self.assertEqual(self.problems({"docs/x.md": "a/ho" + "me/page, $HOME/x, /ho" + "me/somebody/x, ${ROOT}/wo" + "rk/x\n"}), [])

    def test_rooms_in_the_tour(self):
        self.expect({"docs/architecture.md": "`base/` `config/` `comm/` `models/` `nn/`\n"}, "`storage/`")


if __name__ == "__main__":
    unittest.main()
