"""The queue behind launch/study: run directories of many people over a number of slots, each finished once.

A run directory that is finished holds a marker with what it was made with, so that a start finds what is missing, makes nothing twice, and refuses
to go on where the same run would now be made with other settings. A run that fails ends the queue: nothing more is started, stages under way are let end.
Which runs there are, and what their figures say, is launch/study's matter.
"""

import concurrent.futures
import dataclasses
import difflib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

PROJECT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ("prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate")
DONE, EMPTY = "study.done", "study.none"  # markers of a finished run; the second of one that found no preference pairs
NO_PAIRS = "no preference pair"           # what `optimize` says then


class Failed(RuntimeError):
    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """Another run failed, or the queue was interrupted: nothing more is started."""


def magicid(program, log, *arguments, ranks=1):
    """Runs one command of the program, its output into `log`. Raises Failed with the log's end where it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    launcher = [PROJECT / "launch/mpirun", "-n", ranks] if ranks > 1 else []
    with log.open("a") as out:
        command = [str(x) for x in [*launcher, program, *arguments]]
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=dict(os.environ, OMP_NUM_THREADS="1"))
    if done.returncode:
        tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-15:])
        raise Failed("magicid %s ended with %d; %s:\n  %s" % (" ".join(map(str, arguments[:2])), done.returncode, log, tail), done.returncode)


def write_whole(path, text):
    """Under its name there is always a whole file, the former or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


@dataclasses.dataclass
class Run:
    """One run directory: how it is made, and what decides what comes out."""
    name: str              # the arm's: how messages call it
    output: pathlib.Path   # its folder; its log stands beside it
    config: pathlib.Path
    given: list            # (key, value) of --set for every stage; the last of a key counts
    of_optimize: list      # further ones of the stage `optimize`, which alone has more than one rank
    ranks: int
    made_with: dict        # {"settings", "set", "config"}: what decides its figures beside person and seed, as its marker keeps it
    may_be_empty: bool     # that it finds no preference pairs is a result, not a failure

    def marker(self):
        """The marker's path; None: it is not finished."""
        return next((self.output / x for x in (DONE, EMPTY) if (self.output / x).exists()), None)

    def finish(self, marker, **more):
        write_whole(self.output / marker, json.dumps({**more, **self.made_with}, indent=1) + "\n")


def kept(marker):
    """What a marker keeps; None: it is from when markers kept nothing."""
    try:
        made = json.loads(marker.read_text())
    except ValueError:
        return None
    return made if isinstance(made, dict) and {"settings", "set", "config"} <= made.keys() else None


def differences(made, now):
    """What differs between two made_with, as words; a run of unknown settings counts as equal."""
    if made is None or all(made[x] == now[x] for x in now):
        return []
    words = []
    for group, before in (("settings", ""), ("set", "--set ")):
        for key in sorted({*made[group], *now[group]}):
            old, new = (x[group].get(key) for x in (made, now))
            if old != new:
                words.append("%s%s was %s, now %s" % (before, key, *("not given" if x is None else x for x in (old, new))))
    lines = [x for x in list(difflib.unified_diff(made["config"], now["config"], n=0, lineterm=""))[2:] if not x.startswith("@@")]
    if lines:
        more = "  and %d lines more" % (len(lines) - 6) if len(lines) > 6 else ""
        words.append("the configuration (- was, + now): " + "  ".join(" ".join(x.split()) for x in lines[:6]) + more)
    return words


class RunQueue:
    """`slots` runs at a time. `check`: finished runs are looked at again, every stage is started and does nothing where its results are current.
    `again`: finished runs that were made with other settings, or with unknown ones, are made again."""

    def __init__(self, program, slots, check=False, again=False):
        self.program, self.slots, self.check, self.again = program, slots, check, again
        self.stop = threading.Event()

    def accepts(self, runs):
        """Prints which finished runs were made with other settings, and how many keep none; false when work must not go on with them."""
        other, unknown = {}, 0
        for run in runs:
            marker = run.marker()
            made = kept(marker) if marker else None
            unknown += marker is not None and made is None
            words = differences(made, run.made_with)
            if words:
                other.setdefault((run.name, "; ".join(words)), []).append(run.output)
        if unknown:
            print("study: %d finished runs are from a study that did not yet keep its settings: they are taken as they are (--check looks at them again)" % unknown,
                  flush=True)
        if not other or self.again:
            return True
        print("study: finished runs were made with other settings:", file=sys.stderr)
        for (name, words), outputs in other.items():
            more = " and %d more" % (len(outputs) - 1) if len(outputs) > 1 else ""
            print("  arm %s, %s%s: %s" % (name, outputs[0], more, words), file=sys.stderr)
        print("study: give the former settings, or another --out, or a new arm another name; --again makes these runs again with the settings of now",
              file=sys.stderr)
        return False

    def make(self, run):
        """True when it was not finished before, or is looked at again."""
        earlier = run.marker()
        if earlier:
            made = kept(earlier)
            if not self.check and not (self.again and (made is None or differences(made, run.made_with))):
                return False
            earlier.unlink()
        log = run.output.parent / (run.output.name + ".log")
        try:
            for stage in STAGES:
                if self.stop.is_set():
                    raise Stopped()
                more, ranks = (run.of_optimize, run.ranks) if stage == "optimize" else ([], 1)
                words = [x for setting in [*run.given, *more] for x in ("--set", "%s=%s" % setting)]
                magicid(self.program, log, stage, run.config, *words, ranks=ranks)
        except Failed as error:
            if not run.may_be_empty or error.code != 2 or NO_PAIRS not in str(error):
                raise
            run.finish(EMPTY, reason="no preference pair was selected")
            return True
        run.finish(DONE)
        return True

    def make_in_turn(self, runs):
        """One after the other: the first makes what the others reuse. The names of those that ran."""
        try:
            return [run.name for run in runs if self.make(run)]
        except BaseException:
            self.stop.set()  # here, not where it is reported: this thread takes the next job at once
            raise

    def work_through(self, jobs):
        """jobs: (how messages call it, runs), begun in this order. Raises RuntimeError when one failed."""
        with concurrent.futures.ThreadPoolExecutor(self.slots) as pool:
            names = {pool.submit(self.make_in_turn, runs): name for name, runs in jobs}
            failures = 0
            try:
                for job in concurrent.futures.as_completed(names):
                    try:
                        if job.result():
                            print("study: %s: %s" % (names[job], ", ".join(job.result())), flush=True)
                    except Stopped:
                        pass
                    except (Failed, OSError) as error:
                        failures += 1
                        print("study: %s: %s\nstudy: nothing more is started; stages under way are let end" % (names[job], error), file=sys.stderr,
                              flush=True)
            except KeyboardInterrupt:
                self.stop.set()
                print("study: interrupted; nothing more is started, stages under way are let end", file=sys.stderr, flush=True)
                raise
        if failures:
            raise RuntimeError("%s failed; started again, the study goes on where it was" % ("a run" if failures == 1 else "%d runs" % failures))


def person_folder(people, index):
    return people / ("person-%04d" % index)


def make_people(program, people, first, count, log):
    """Renders the people of the small world who are not yet in the folder `people`. A person depends on seed and index alone, so that those who come later are
    the ones that would have been made at once."""
    missing = [i for i in range(first, first + count) if not (person_folder(people, i) / "references").is_dir()]
    if not missing:
        return
    grows = people.exists()
    fresh = people.with_name(people.name + ".more") if grows else people
    if grows:
        shutil.rmtree(fresh, ignore_errors=True)  # of a start that was killed
    magicid(program, log, "world", fresh, "--split", "test", "--first", missing[0], "--people", missing[-1] - missing[0] + 1, "--clips", 0, "--photos", 4,
            "--seed", 1, "--evaluation")
    if not grows:
        return
    # The list first: who is there is told by the folders, so that a start that is killed in between adds the rest.
    lists = [x / "people.jsonl" for x in (fresh, people) if (x / "people.jsonl").exists()]
    lines = {json.loads(line)["index"]: line for x in lists for line in x.read_text().splitlines()}
    write_whole(people / "people.jsonl", "".join(lines[i] + "\n" for i in sorted(lines)))
    for index in missing:
        person_folder(fresh, index).replace(person_folder(people, index))
    shutil.rmtree(fresh)
