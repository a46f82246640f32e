#!/usr/bin/env python3
"""launch/study with few prompts and steps: arms beside each other, tables, a page that it renews, and nothing done twice; and with a program that only pretends: what the
launcher itself does about markers, people, failures and mistakes. Standard library only.

Usage: study_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-study-"))
OUT = FOLDER / "study"
SETTINGS = {"prompts": FOLDER / "prompts.txt", "evaluate.prompts": FOLDER / "held-out.txt", "generate.steps": 2, "generate.true_cfg": 1, "generate.initial_per_prompt": 1, "generate.tuned_per_prompt": 2,
            "generate.adapter_strengths": "[0.5, 1.0]", "reconstruct.steps": 2, "optimize.pairs_seen": 8, "rewards.flow_updates": 1,
            "rewards.flow_rate": 2, "rewards.face_frames": 3, "select.dynamic_pairs.max_semantic_loss": 9}
PAGE = "# Words by hand\n\n<!-- table: pairs -->\nold\n<!-- end of table -->\n\nMore words.\n\n<!-- table: layouts -->\n<!-- end of table -->\n\n<!-- table: rewards -->\nkept as it was\n<!-- end of table -->\n"


# Pretends every stage: a line when it begins and one when it ends, an evaluation of one video in four arms. `world` and `compare` are the program's own.
PRETENDER = """#!/bin/sh
case "$1" in world|compare) exec "{program}" "$@";; esac
for word in "$@"; do
  case "$word" in output=*) out=${{word#output=}};; seed=*) seed=${{word#seed=}};; optimize.beta=*) beta=${{word#optimize.beta=}};; esac
done
person=$(basename "$(dirname "$out")"); run=$person/$(basename "$out")
echo "begin $1 $run" >> "{folder}/calls"
if [ "$run $1" = "$FAILS" ]; then echo "this one fails"; exit 3; fi
if [ -e "{folder}/slow" ]; then sleep 2; fi
mkdir -p "$out"
if [ "$1" = evaluate ]; then
  newer=; if [ -n "$NEWER" ]; then newer=', "clip_t": 40.0'; fi
  metrics='"face_similarity": 0.5, "dynamic_degree": '${{beta:-4}}', "dynamic": 1.0, "clip_i": 20.0, "temporal_consistency": 0.9'$newer
  videos=; arms=
  for arm in base stage1 hpo real; do
    for sample in 0 1; do videos="$videos,{{\\"arm\\": \\"$arm\\", \\"prompt\\": 0, \\"sample\\": $sample, \\"metrics\\": {{$metrics}}}}"; done
    arms="$arms,{{\\"arm\\": \\"$arm\\"}}"
  done
  echo "{{\\"person\\": \\"${{person%-seed*}}\\", \\"noise_seed\\": $seed, \\"prompts\\": [\\"p\\"], \\"video\\": {{}}, \\"arms\\": [${{arms#,}}], \\"videos\\": [${{videos#,}}]}}" > "$out/evaluation.json"
fi
echo "end $1 $run" >> "{folder}/calls"
"""


def setUpModule():
    unittest.addModuleCleanup(shutil.rmtree, FOLDER, ignore_errors=True)


def study(*more):
    command = [PROJECT / "launch/study", "--program", PROGRAM, "--out", OUT, "--people", 2, "--first", 900, "--seeds", 1, "--jobs", 2, *more]
    command += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run([str(word) for word in command], env=dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    return done.returncode, done.stdout


class Study(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for name, source in (("prompts.txt", "training"), ("held-out.txt", "evaluation")):
            templates = [line for line in (PROJECT / f"datasets/prompts/miniature-{source}.txt").read_text().splitlines() if "{subject}" in line]
            (FOLDER / name).write_text("\n".join(templates[::7]) + "\n")
        (FOLDER / "page.md").write_text(PAGE)
        cls.arms = ("--questions", "pairs,layouts", "--arms", "identity-pairs,sequence-2", "--arm", "by-hand:optimize.beta=7;optimize.learning_rate=1e-3", "--arm", "hopeless:select.pairs=dynamic;select.dynamic_pairs.min_dynamics_gap=9",
                    "--page", FOLDER / "page.md", "--figures", FOLDER / "figures.jsonl")
        cls.code, cls.text = study(*cls.arms)
        shutil.copy(OUT / "tables.md", FOLDER / "first-tables.md")

    def test_every_person_has_every_arm(self):
        self.assertEqual(self.code, 0, self.text)
        arms = {"full", "identity-pairs", "sequence-2", "by-hand"}
        for person in ("person-0900", "person-0901"):
            self.assertEqual({p.parent.name for p in (OUT / "runs" / f"{person}-seed1").glob("*/study.done")}, arms)
            evaluation = json.loads((OUT / "runs" / f"{person}-seed1/full/evaluation.json").read_text())
            self.assertEqual({arm["arm"] for arm in evaluation["arms"]}, {"base", "stage1", "hpo", "real"})
        # The second arm takes over what it shares.
        self.assertIn("select: taken over", (OUT / "runs/person-0900-seed1/by-hand.log").read_text())

    def test_tables_hold_the_evaluations_means(self):
        rows = [json.loads((OUT / "runs" / f"person-090{i}-seed1/full/evaluation.json").read_text()) for i in range(2)]
        # Real videos of the prompts that the other arms have: comparisons are paired.
        prompts = (FOLDER / "held-out.txt").read_text().count("\n")
        real = [video["metrics"]["dynamic_degree"] for row in rows for video in row["videos"] if video["arm"] == "real" and video["prompt"] < prompts]
        self.assertEqual(len(real), 2 * prompts)
        mean = sum(real) / len(real)
        tables = (FOLDER / "first-tables.md").read_text()
        line = next(line for line in tables.splitlines() if line.startswith("| real videos"))
        self.assertAlmostEqual(float(line.split("|")[3]), mean, delta=0.006)
        for text in ("identity pairs alone", "two ranks share a sequence", "optimize.beta=7;optimize.learning_rate=1e-3", "Dynamics of the method over those of identity pairs alone"):
            self.assertIn(text, tables)
        self.assertNotIn("held still", tables, "arms that were not asked for")

    def test_the_page_keeps_its_words_and_gets_the_tables(self):
        page = (FOLDER / "page.md").read_text()
        for text in ("# Words by hand", "More words.", "| real videos of the person |", "| two ranks share a sequence |", "2 unseen people, from index 900; one training seed",
                     "launch/study --people 2 --seeds 1 --questions layouts --arms sequence-2 --first 900", "kept as it was"):
            self.assertIn(text, page)
        self.assertNotIn("old\n", page)

    def test_started_again_it_does_nothing_twice(self):
        files = {p: p.stat().st_mtime_ns for p in (OUT / "runs").rglob("*.h5")}
        code, text = study(*self.arms)
        self.assertEqual(code, 0, text)
        self.assertNotIn("seed 1:", text)
        self.assertEqual(files, {p: p.stat().st_mtime_ns for p in (OUT / "runs").rglob("*.h5")})

    def test_tables_of_what_is_finished(self):
        missing = OUT / "runs/person-0901-seed1/identity-pairs/study.done"
        missing.rename(missing.with_suffix(".aside"))
        try:
            code, text = study("--arms", "identity-pairs", "--tables")
        finally:
            missing.with_suffix(".aside").rename(missing)
        self.assertEqual(code, 0, text)
        line = next(line for line in (OUT / "tables.md").read_text().splitlines() if line.startswith("| + identity pairs alone"))
        self.assertTrue(line.endswith("| 1 |"), line)

    def test_tables_from_the_figures_alone(self):
        code, text = study(*self.arms, "--tables", "--out", FOLDER / "elsewhere")
        self.assertEqual(code, 0, text)
        first = (FOLDER / "first-tables.md").read_text()
        self.assertIn("two ranks share a sequence", first)
        self.assertEqual((FOLDER / "elsewhere/tables.md").read_text(), first)
        self.assertFalse((FOLDER / "elsewhere/runs").exists())

    def test_an_arm_without_pairs_has_a_row_without_figures(self):
        for person in ("person-0900", "person-0901"):
            self.assertIn("no preference pair", (OUT / "runs" / f"{person}-seed1/hopeless/study.none").read_text())
        line = next(line for line in (FOLDER / "first-tables.md").read_text().splitlines() if line.startswith("| select.pairs=dynamic"))
        self.assertTrue(line.endswith(" 0 |"), line)

    def test_mistakes_are_told(self):
        code, text = study("--tables", "--first", 7)
        self.assertEqual(code, 2)
        self.assertIn("no finished run", text)
        code, text = study("--arms", "identity-pears")
        self.assertEqual(code, 2)
        self.assertIn("identity-pears", text)
        code, text = study("--arms", "full", "--arm", "wrong:optimize.betta=1")
        self.assertEqual(code, 3)
        self.assertIn("optimize.betta", text)


class Page(unittest.TestCase):
    def test_its_tables_are_those_of_the_kept_figures(self):
        page = FOLDER / "study.md"
        shutil.copy(PROJECT / "docs/study.md", page)
        questions = ("pairs", "rewards", "losers", "selection", "share", "optimization", "stage1")
        for table in (*questions, "ratio"):  # the ratio comes with the pairs
            page.write_text(page.read_text().replace(f"<!-- table: {table} -->\n", f"<!-- table: {table} -->\nanother table\n"))
        command = [PROJECT / "launch/study", "--program", PROGRAM, "--people", "8", "--seeds", "2", "--questions", ",".join(questions), "--figures", PROJECT / "datasets/study/figures.jsonl", "--tables",
                   "--page", page, "--out", FOLDER / "kept"]
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(page.read_text(), (PROJECT / "docs/study.md").read_text())


class Launcher(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=FOLDER))
        self.out, self.config = self.folder / "out", self.folder / "study.yaml"
        self.config.write_text("# Words.\noptimize:\n  beta: 100\n")
        self.program = self.folder / "magicid"
        self.program.write_text(PRETENDER.format(program=PROGRAM, folder=self.folder))
        self.program.chmod(0o755)

    def people(self, *indices):
        for index in indices:
            (self.out / f"people-900/person-{index:04d}/references").mkdir(parents=True)

    def command(self, *more):
        return [str(w) for w in (PROJECT / "launch/study", "--program", self.program, "--out", self.out, "--config", self.config, "--people", 1, "--first", 900, "--seeds", 1, "--jobs", 1, *more)]

    def study(self, *more, **environment):
        done = subprocess.run(self.command(*more), env=dict(os.environ, **environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        return done.returncode, done.stdout

    def calls(self, begin="begin"):
        """The stages that were started (or ended) since the last look, as "STAGE PERSON-SEED/ARM"."""
        path = self.folder / "calls"
        return [line.partition(" ")[2] for line in (path.read_text().splitlines() if path.exists() else []) if line.startswith(begin)]

    def forget_calls(self):
        (self.folder / "calls").unlink(missing_ok=True)

    def row(self, first, table):
        """Cells of the line of a table in tables.md that begins with `first`."""
        section = (self.out / "tables.md").read_text().partition("## " + table)[2].partition("## ")[0]
        return [cell.strip() for cell in next(line for line in section.splitlines() if line.startswith("| " + first)).split("|")[2:-1]]

    def refused(self, *more, says):
        code, text = self.study(*more)
        self.assertEqual(code, 2, text)
        self.assertNotIn("Traceback", text)
        for words in says:
            self.assertIn(words, text)
        return text

    def test_other_settings_under_an_old_name_are_refused(self):
        self.people(900)
        arms = ("--arms", "full", "--set", "optimize.pairs_seen=8", "--arm", "by-hand:optimize.beta=7;optimize.shift=2")
        code, text = self.study(*arms)
        self.assertEqual(code, 0, text)
        self.assertEqual(len(self.calls()), 14)
        self.forget_calls()
        self.config.write_text("# Other words.\n\noptimize:\n  beta: 100\n")
        self.assertEqual(self.study(*arms)[0], 0, "a comment is no setting")

        changed = ("--arms", "full", "--set", "optimize.pairs_seen=8", "--arm", "by-hand:optimize.beta=8;optimize.momentum=1")
        says = ("by-hand", "optimize.beta was 7, now 8", "optimize.shift was 2, now not given", "optimize.momentum was not given, now 1", "--out", "another name", "--again")
        self.assertNotIn("arm full", self.refused(*changed, says=says))
        self.refused(*changed, "--tables", says=says)
        self.refused(*changed, "--check", says=says)
        self.refused("--arms", "full", "--set", "optimize.pairs_seen=9", says=("arm full", "--set optimize.pairs_seen was 8, now 9"))
        self.refused("--arms", "full", says=("--set optimize.pairs_seen was 8, now not given",))
        self.config.write_text("optimize:\n  beta: 30\n")
        self.refused(*arms, "--people", 2, says=("arm full", "arm by-hand", "- beta: 100", "+ beta: 30"))
        self.assertEqual(self.calls(), [])
        self.assertFalse((self.out / "people-900/person-0901").exists(), "before any work")

        code, text = self.study(*changed, "--again")
        self.assertEqual(code, 0, text)
        self.assertEqual(len(self.calls()), 14)
        self.forget_calls()
        code, text = self.study(*changed)
        self.assertEqual((code, self.calls()), (0, []), text)
        self.assertIn("8.00", self.row("optimize.beta=8", "Further settings"))

    def test_the_definition_of_an_arm_is_a_setting(self):
        self.people(900)
        self.assertEqual(self.study("--arms", "beta-30")[0], 0)
        path = self.out / "runs/person-0900-seed1/beta-30/study.done"
        path.write_text(path.read_text().replace('"30"', '"31"'))
        self.refused("--arms", "beta-30", says=("arm beta-30", "optimize.beta was 31, now 30"))

    def test_markers_that_keep_nothing_are_accepted(self):
        self.people(900)
        arms = ("--arms", "identity-pairs,dynamic-pairs")
        self.assertEqual(self.study(*arms)[0], 0)
        runs = self.out / "runs/person-0900-seed1"
        for name in ("full", "identity-pairs"):
            (runs / name / "study.done").write_text("")
        (runs / "dynamic-pairs/study.done").unlink()
        (runs / "dynamic-pairs/study.none").write_text("no preference pair was selected\n")
        self.forget_calls()
        self.config.write_text("optimize:\n  beta: 30\n")
        code, text = self.study(*arms)
        self.assertEqual((code, self.calls()), (0, []), text)
        self.assertEqual(text.count("did not yet keep its settings"), 1, text)
        self.assertIn("3 finished runs", text)
        self.assertEqual(self.row("+ identity pairs alone", "Kinds of pairs")[-1], "1")
        self.assertEqual(self.study(*arms, "--check")[0], 0)
        self.assertEqual(len(self.calls()), 21)
        code, text = self.study(*arms)
        self.assertEqual(code, 0)
        self.assertNotIn("keep its settings", text)

    def test_check_starts_every_stage_of_finished_runs(self):
        self.people(900)
        self.assertEqual(self.study("--arms", "identity-pairs")[0], 0)
        self.forget_calls()
        code, text = self.study("--arms", "identity-pairs", "--check", NEWER="1")
        self.assertEqual(code, 0, text)
        stages = ["prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate"]
        self.assertEqual(self.calls(), [f"{stage} person-0900-seed1/{arm}" for arm in ("full", "identity-pairs") for stage in stages])
        self.assertIn("40.0", self.row("+ identity pairs alone", "Kinds of pairs"))
        self.refused("--check", "--tables", says=("--tables",))

    def test_people_who_come_later_are_those_made_at_once(self):
        at_once, later = self.folder / "at-once", self.out / "people-900"
        subprocess.run([PROGRAM, "world", at_once, "--split", "test", "--first", "900", "--people", "3", "--clips", "0", "--photos", "4", "--seed", "1", "--evaluation"], check=True, stderr=subprocess.DEVNULL)
        for people in (1, 3):
            code, text = self.study("--arms", "full", "--people", people)
            self.assertEqual(code, 0, text)
        shutil.rmtree(later / "person-0901")  # a gap
        code, text = self.study("--arms", "full", "--people", 2)
        self.assertEqual(code, 0, text)
        self.assertEqual(len(self.calls()), 21, "nothing is done twice")
        files = [{str(p.relative_to(x)): p.read_bytes() for p in x.rglob("*") if p.is_file()} for x in (at_once, later)]
        self.assertEqual(sorted(files[0]), sorted(files[1]))
        for name, content in files[0].items():
            self.assertEqual(content, files[1][name], name)
        self.assertFalse(list(self.out.glob("*.more")))

    def test_a_failure_starts_nothing_more(self):
        self.people(*range(900, 905))
        (self.folder / "slow").touch()  # each stage but that which fails: another person's is under way then
        code, text = self.study("--people", 5, "--jobs", 2, "--arms", "full", FAILS="person-0900-seed1/full prepare")
        self.assertEqual(code, 3, text)
        self.assertLessEqual(set(self.calls()), {f"prepare person-090{i}-seed1/full" for i in range(3)})
        self.assertEqual(sorted(self.calls("end")), sorted(self.calls())[1:], "what was under way ended")
        for words in ("person-0900, seed 1", "this one fails", "nothing more is started", "a run failed"):
            self.assertIn(words, text)
        (self.folder / "slow").unlink()
        self.assertEqual(self.study("--people", 5, "--jobs", 2, "--arms", "full")[0], 0, "started again, it goes on")

    def test_an_interrupt_starts_nothing_more(self):
        self.people(*range(900, 904))
        (self.folder / "slow").touch()
        # A shell's background jobs ignore the signal; a person's terminal does not.
        running = subprocess.Popen(self.command("--people", 4, "--arms", "full"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        try:
            end = time.monotonic() + 120
            while not self.calls() and time.monotonic() < end:
                time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            text = running.communicate(timeout=120)[0]
        finally:
            running.kill()
        self.assertEqual(running.returncode, 130, text)
        self.assertNotIn("Traceback", text)
        self.assertLessEqual(len(self.calls()), 2)
        self.assertEqual(self.calls("end"), self.calls(), "what was under way ended")
        self.assertEqual({call.split()[1] for call in self.calls()}, {"person-0900-seed1/full"})
        self.assertIn("interrupted", text)

    def test_mistakes_in_arguments_are_told(self):
        self.people(900)
        for words, says in ((("--arm", "x:foo"), ("--arm x:foo", "'foo' is not KEY=VALUE")), (("--arm", "x"), ("--arm x", "no settings")), (("--arm", "../x:a.b=1"), ("'../x' is no name",)),
                            (("--arm", ":a.b=1"), ("is no name",)), (("--arm", "x:ranks=two"), ("ranks",)), (("--arm", "x:seed=3"), ("seed",)), (("--set", "foo"), ("--set", "'foo' is not KEY=VALUE")),
                            (("--arm", "beta-30:optimize.beta=31"), ("beta-30", "another name")), (("--arm", "full:optimize.beta=31"), ("full", "another name")),
                            (("--arm", "x:a.b=1", "--arm", "x:a.b=2"), ("x:a.b=2", "another name")), (("--jobs", 0), ("--jobs is 0",)), (("--people", 0), ("--people is 0",)),
                            (("--seeds", 0), ("--seeds is 0",)), (("--questions", "pears"), ("no such question: pears",)),
                            (("--questions", "pairs", "--arms", "beta-30"), ("beta-30", "none of --questions")), (("--config", "no.yaml"), ("no.yaml", "no such file")),
                            (("--page", "no.md"), ("no.md", "no such file"))):
            with self.subTest(words=words):
                self.refused(*words, says=says)
        self.assertEqual(self.calls(), [])

    def test_kept_figures(self):
        self.people(900, 901)
        file = self.folder / "figures.jsonl"
        arms = ("--people", 2, "--questions", "optimization", "--arms", "beta-30", "--figures", file)
        code, text = self.study(*arms, "--people", 1)
        self.assertEqual(code, 0, text)
        first = file.read_text()
        self.assertEqual([json.loads(line).get("arm") for line in first.splitlines()], [None, "beta-30", "full"])
        # On another machine the study goes on, and what it adds stands beside what was there.
        shutil.rmtree(self.out / "runs")
        self.forget_calls()
        self.assertEqual(self.study(*arms, "--tables")[0], 0)
        self.assertEqual((self.calls(), file.read_text()), ([], first))
        self.assertEqual(self.row("beta 30", "Preference optimization")[1], "30.00")
        self.assertEqual(self.study(*arms, "--first", 901, "--people", 1, "--tables")[0], 2, "of another person nothing is kept")
        # A run that is there counts before what is kept of it.
        lines = first.splitlines()
        file.write_text("\n".join([lines[0], lines[1].replace('"dynamic_degree":30.0', '"dynamic_degree":31.0'), lines[2]]) + "\n")
        self.assertEqual(self.study(*arms, "--tables")[0], 0)
        self.assertEqual(self.row("beta 30", "Preference optimization")[1], "31.00")
        self.assertEqual(self.study(*arms, "--people", 1)[0], 0)
        self.assertEqual(self.row("beta 30", "Preference optimization")[1], "30.00")
        self.assertEqual(file.read_text(), first)

        self.forget_calls()
        shutil.rmtree(self.out / "runs")
        for damaged, words in ((first.replace('{"optimize.beta":"30"}', '{"optimize.beta":"31"}'), ("beta-30", "'31'", "'30'", "another file")), (first[:-40], ("is damaged",)), ("[]\n", ("is damaged",)),
                               ("\n", ("is damaged",)), (first.replace("beta: 100", "beta: 200", 1), ("- beta: 200", "+ beta: 100", "another file"))):
            with self.subTest(words=words):
                file.write_text(damaged)
                code, text = self.study(*arms, "--tables")
                self.assertEqual(code, 3, text)
                for word in (*words, "--figures", "figures.jsonl"):
                    self.assertIn(word, text)
                self.assertEqual(file.read_text(), damaged)
                self.assertEqual(self.study(*arms)[0], 3)
                self.assertEqual(self.calls(), [], "before any work")

    def test_figures_that_older_evaluations_lack(self):
        self.people(900, 901)
        arms = ("--people", 2, "--arms", "share-0.3,identity-pairs,identity-pairs-still-losers")
        self.assertEqual(self.study("--arms", "full", NEWER="1")[0], 0)  # one person with the newer figure, the other without
        code, text = self.study(*arms)
        self.assertEqual(code, 0, text)
        columns, method = self.row("model", "Kinds of pairs"), self.row("+ identity and dynamic", "Kinds of pairs")
        figures = dict(zip(columns, method))
        self.assertEqual((figures["face"], figures["moving"], figures["CLIP-T"], figures["CLIP-T, less stage 1"], figures["runs"]), ("0.500", "1.00", "–", "–", "2"))
        self.assertEqual(self.row("three tenths", "Share of dynamic pairs")[-1], "2")
        tables = (self.out / "tables.md").read_text()
        for losers in ("moving losers", "losers held still"):
            self.assertRegex(tables, "Dynamics of the method over those of identity pairs alone with %s[^:]*: 1.00" % losers)
        code, text = self.study(*arms, "--check", NEWER="1")
        self.assertEqual(code, 0, text)
        figures = dict(zip(columns, self.row("+ identity and dynamic", "Kinds of pairs")))
        self.assertEqual((figures["CLIP-T"], figures["CLIP-T, less stage 1"]), ("40.0", "+0.0 (+0.0 to +0.0)"))

    def test_tables_when_arms_are_partly_finished(self):
        self.people(900, 901)
        self.assertEqual(self.study("--people", 1, "--arms", "identity-pairs,prior-preservation")[0], 0)
        code, text = self.study("--people", 2, "--arms", "full")
        self.assertEqual(code, 0, text)
        self.assertIn("Dynamics of the method", (self.out / "tables.md").read_text())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
