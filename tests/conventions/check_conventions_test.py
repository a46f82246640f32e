#!/usr/bin/env python3
"""The checker itself: a small tree that keeps the conventions passes, and each planted violation is found in its file."""
import tempfile
import unittest
from pathlib import Path

import cpp_source
import figures
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


def in_tree(files, look):
    """What `look` finds in a folder that holds the files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return look(Path(folder))


class Conventions(unittest.TestCase):
    def problems(self, changes, shared_names=frozenset()):
        return in_tree({**GOOD, **changes}, lambda root: check(root, shared_names))

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
                 "src/pretraining/CMakeLists.txt": "magicid_room(pretraining SOURCES p.cpp)\n", "src/pretraining/p.h": "#pragma once\n",
                 "src/pretraining/p.cpp": '#include "pretraining/p.h"\n',
                 "src/commands/CMakeLists.txt": "magicid_room(commands SOURCES pretrain.cpp ROOMS pretraining)\n",
                 "src/commands/pretrain.cpp": '#include "pretraining/p.h"\n',
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
        one = {"src/comm/m.h": "#pragma once\nenum class Kind { a };\n", "src/base/b.cpp": "struct Kind {\n};\n",
        "src/base/a.h": "#pragma once\nenum class Kind;\n"}
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

    def test_figures_over_their_limit(self):
        wide = {**GOOD, "src/base/b.cpp": "void f(int a, int b, int c, int d, int e, int g, int h) {}\n"}
        figure = figures.Figure("wide functions", 0, 0, figures.wide_functions)
        problems = in_tree(wide, lambda root: check(root, frozenset(), [figure]))
        self.assertEqual(len(problems), 2, problems)
        self.assertIn("wide functions: 1, and the limit is 0", problems[0])
        self.assertIn("src/base/b.cpp:1: f takes 7 parameters", problems[1])
        self.assertEqual(in_tree(wide, lambda root: check(root, frozenset(), [figures.Figure("wide functions", 1, 0, figures.wide_functions)])), [])
        falling = [figures.Figure("wide functions", 3, goal, figures.wide_functions) for goal in (0, 2, 3)]
        said = [in_tree(wide, lambda root: check(root, frozenset(), [figure])) for figure in falling]
        self.assertEqual([[line[line.index("lower it to"):][:13] for line in lines] for lines in said], [["lower it to 1"], ["lower it to 2"], []])
        printed = in_tree(wide, lambda root: figures.table(root, [figure]))
        self.assertEqual(printed[1].split()[:4], ["1", "0", "0", "wide"])
        self.assertIn("src/base/b.cpp:1", printed[2])

    def test_every_figure_has_a_limit_on_its_way_to_the_goal(self):
        for figure in figures.FIGURES:
            self.assertGreaterEqual(figure.limit, figure.goal, figure.what)


class Figures(unittest.TestCase):
    def places(self, count, files):
        return in_tree({f"src/{name}": text for name, text in files.items()}, count)

    def lines(self, count, text, name="base/b.cpp"):
        """The lines that the figure counts in one file."""
        places = self.places(count, {name: text})
        return [int(place.split(":")[1]) for place in places]

    def test_files_that_name_a_backbone(self):
        count = figures.files_that_name_a_backbone
        self.assertEqual(self.lines(count, '#include "base/a.h"\n#include "models/hunyuan_video/transformer.h"\n'), [2])
        self.assertEqual(self.lines(count, "\n\nauto x = hunyuan_video::load();\nhunyuan_video::T y;\n"), [3])
        self.assertEqual(self.lines(count, "namespace hv = models::hunyuan_video;\n"), [1])
        self.assertEqual(self.lines(count, "namespace magicid::models::hunyuan_video {\nclass Transformer;\n}\n"), [1])
        self.assertEqual(self.lines(count, "// as models/hunyuan_video/x.cpp and hunyuan_video::f do\n/* hunyuan_video::f */\n"), [])
        self.assertEqual(self.lines(count, 'auto t = PromptTemplate::hunyuan_video();\nauto s = "hunyuan_video::f";\n'), [])
        self.assertEqual(self.lines(count, "hunyuan_video::T y;\n", "models/hunyuan_video/x.cpp"), [])

    def test_lines_of_commands(self):
        files = {"commands/a.cpp": "int a;\n\n", "commands/a.h": "int b;\n", "commands/CMakeLists.txt": "x\n", "app/main.cpp": "\n"}
        self.assertEqual(len(self.places(figures.command_lines, files)), 3)

    def test_functions_of_many_parameters(self):
        seven = "int a, std::map<int, int> b, int c = g(1, 2), int d = {1, 2}, void (*e)(int, int), int f, const T& h"
        six = seven.rsplit(",", 1)[0]
        wide = [f"void f({seven});", f"void f({seven}) {{}}", f"template <class A, class B> auto A::f({seven}) const -> int {{ return 1; }}",
                f"class C {{\n public: explicit C({seven}) : a_(a), b_{{b}} {{}}\n}};", f"struct S {{\n  int x{{1}};\n  static void f({seven});\n}};",
                f"namespace a::b {{\nnamespace {{\nvoid f({seven});\n}}\n}}", f"Mat operator()({seven}) const;", f"Mat operator+({seven});",
                f'extern "C" {{\nvoid f({seven});\n}}', f"std::function<void(int)> f({seven});", f"__attribute__((noinline)) void f({seven});",
                f"const int x[] = {{1, 2}};\nvoid f({seven});", f'const auto t = R"(") {{ ( )";\nvoid f({seven});',
                f"enum class E : int {{ a, b }};\nvoid f({seven});"]
        for text in wide:
            with self.subTest(text):
                self.assertEqual(len(self.places(figures.wide_functions, {"base/b.cpp": text + "\n"})), 1)
                self.assertEqual(self.places(figures.wide_functions, {"base/b.cpp": text.replace(seven, six) + "\n"}), [])
        others = [f"#define F({seven}) \\\n  f({seven})", f"void f() {{\n  const auto g = [&]({seven}) {{ return 1; }};\n  call(a, b, c, d, e, f, g);\n}}",
                  f"// void f({seven});",
                  f"const auto g = []({seven}) {{ return 1; }};", f"using F = void({seven});", f"const Vec v{{1, 2, 3, 4, 5, 6, 7}};",
                                    "const int v = sum(1, 2, 3, 4, 5, 6, 7);",
                  "C::C(int a) : b_(1, 2, 3, 4, 5, 6, 7) {}", "std::array<std::tuple<int, int, int, int, int, int, int>, 2> f(int a);"]
        for text in others:
            with self.subTest(text):
                self.assertEqual(self.places(figures.wide_functions, {"base/b.cpp": text + "\n"}), [])
        # A declaration and its definition are one function; kernels are left out.
        self.assertEqual(self.places(figures.wide_functions, {"base/b.h": f"\nvoid f({seven});\n", "base/b.cpp": f"void f({seven}) {{}}\n"}),
                         ["src/base/b.h:2: f takes 7 parameters; at most 6"])
        kernel = f"void f({seven});\n"
        self.assertEqual(self.places(figures.wide_functions, {"nn/a.cu": kernel, "nn/a_kernel.cpp": kernel, next(iter(figures.KERNELS)): kernel}), [])

    def test_json_by_position(self):
        read = ["void f(const json& row) { use(row[0]); }", "void f() { const nlohmann::json row = g(); use(row.at(2)); }",
                'void f(const Json& all) { use(all.at("rows")[1]); }',
                "void f(const json& rows) { for (const auto& row : rows) use(row[0].get<int>()); }",
                "void f() { for (const auto& row : json::parse(text)) use(row[0]); }",
                "void f(const json& all) { const auto& row = all[key]; use(row[0]); }", "void f() { use(json::parse(text)[0]); }",
                "json shared();\nvoid f() { const auto all = shared();\n use(all[0]); }",
                "void f() { agree(world, [&] { json row = g(); if (a) { b(); } use(row[0]); }); }",
                "void f() { call([&](const json& row) { return row[0]; }); }",
                "void f(const json& all) { for (const auto& [name, value] : all.items()) use(value[0]); }",
                'void f(const json& all) { use(all.value("rows", json::array())[1]); }',
                "struct S {\n  json figures;\n};\nvoid f(json a, json b) { use(b[0]); }"]
        for text in read:
            with self.subTest(text):
                self.assertEqual(self.lines(figures.json_by_position, text + "\n"), [text.count("\n") + 1])
        self.assertEqual(self.places(figures.json_by_position, {"base/a.h": "struct S {\n  json figures;\n};\njson made(int a);\n",
                                                                "base/b.cpp": "void f(const S& s) {\n  use(s.figures[0]);\n  use(made(1)[1]);\n}\n"}),
                         [f"src/base/b.cpp:{line}: reads a JSON array by position; give the value a key, or its type a name" for line in (2, 3)])
        others = ["void f(const at::Tensor& row) { use(row[0]); }", 'void f(const json& row) { use(row["a"], row.at("b"), row[name], row[i]); }',
                  "void f(const json& row) {}\nvoid g(const std::vector<int>& row) { use(row[0]); }",
                  "void f(const json& all) { const auto sizes = all.get<std::vector<int>>(); use(sizes[0]); }",
                  'void f(const json& all) { const std::string name = all.at("name"); use(name[0]); }',
                  "void f(const json& all) { use(all.size() == 1 ? sizes[0] : 0); }",
                  "// json row; row[0]\n", 'const char* t = "json row; row[0]";', "struct S {\n  std::vector<json> rows;\n};\nvoid f(S s) { use(s.rows[0]); }"]
        for text in others:
            with self.subTest(text):
                self.assertEqual(self.places(figures.json_by_position, {"base/b.cpp": text + "\n"}), [])
        self.assertEqual(self.places(figures.json_by_position, {next(iter(figures.FOREIGN_JSON)): read[0]}), [])

    def test_types_that_hold_a_run_and_a_process(self):
        count = figures.runs_with_a_process
        run, ranks = "std::optional<run_directory::RunDirectory> run_;", "std::unique_ptr<comm::Communicator> world_;"
        both = f"class Context {{\n public:\n  int f();\n private:\n  {run}\n  {ranks}\n}};\n"
        self.assertEqual(self.lines(count, both, "commands/c.h"), [1])
        self.assertEqual(self.places(count, {"commands/c.h": f"struct A {{\n  {run}\n}};\nstruct B {{\n  {ranks}\n  RunLock& lock() const;\n}};\n"}), [])
        # What an owned member holds is held; what is only referred to is not.
        run_and_ranks = {"commands/r.h": f"class Run {{\n  {run}\n}};\n", "commands/s.h": f"class Session {{\n  {ranks}\n}};\n"}
        self.assertEqual(self.places(count, {**run_and_ranks, "commands/t.h": "struct Tool {\n  Session& session;\n  const Run* run;\n};\n"}), [])
        owner = self.places(count, {**run_and_ranks, "commands/t.cpp": "struct Tool {\n  std::unique_ptr<Session> session;\n  Run run;\n};\n"})
        self.assertEqual([place.split(":")[0] for place in owner], ["src/commands/t.cpp"])
        self.assertEqual(len(self.places(count, {**run_and_ranks, "commands/t.h": f"struct Tool {{\n  Run run;\n  comm::Communicator& world;\n}};\n"})), 1)


class Source(unittest.TestCase):
    def test_lines_and_literals(self):
        text = "/* a\n b */ int c = 'x'; // d\n#define E \\\n  f\nauto s = R\"q(\n)\" )q\";\nint g = 1'000;\n"
        found = [(token.text, token.line) for token in cpp_source.tokens(text)]
        self.assertEqual(found[:5], [("int", 2), ("c", 2), ("=", 2), ("'x'", 2), (";", 2)])
        self.assertEqual(found[5:8], [("auto", 5), ("s", 5), ("=", 5)])
        self.assertEqual(found[-5:], [("int", 7), ("g", 7), ("=", 7), ("1'000", 7), (";", 7)])


if __name__ == "__main__":
    unittest.main()
