#!/usr/bin/env python3
"""slurm/magicid.sbatch with a stand-in for srun and scontrol: what becomes of each exit code of the ranks."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Two ranks, as srun would start them: the highest exit code is srun's own. Options before the command begin with a dash.
SRUN = """#!/usr/bin/env bash
while [[ ${1:-} == -* ]]; do echo "$1" >>srun.options; shift; done
"$@" & first=$!
"$@" & second=$!
[ -e send-term ] && { until [ "$(cat ready 2>/dev/null | wc -l)" = 2 ]; do sleep 0.02; done; kill -TERM $first $second $(cat ready); }
worst=0
for rank in $first $second; do wait $rank; code=$?; [ $code -gt $worst ] && worst=$code; done
exit $worst
"""
SCONTROL = '#!/usr/bin/env bash\necho "$@" >>scontrol.calls\n'


class SlurmScript(unittest.TestCase):
    def submit(self, program, send_term=False, **environment):
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(ROOT / "slurm", folder / "slurm")
        (folder / "config.yaml").write_text("seed: 1\n")
        for name, text in {"bin/srun": SRUN, "bin/scontrol": SCONTROL, "magicid": "#!/usr/bin/env bash\n" + program}.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        if send_term:
            (folder / "send-term").touch()
        env = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(folder), "MAGICID_PROGRAM": str(folder / "magicid")}
        result = subprocess.run(["bash", "slurm/magicid.sbatch", "config.yaml"], cwd=folder, env={**env, **environment}, text=True, capture_output=True, timeout=60)
        calls = folder / "scontrol.calls"
        self.options = (folder / "srun.options").read_text().split() if (folder / "srun.options").exists() else []
        self.assertFalse(list(folder.glob(".requeue-*")), "the mark must not outlive the job")
        return result, calls.read_text().strip() if calls.exists() else ""

    def test_finished(self):
        result, calls = self.submit('[ "$*" = "run config.yaml" ]')
        self.assertEqual((result.returncode, calls), (0, ""), result.stderr)
        self.assertIn("finished", result.stdout)
        self.assertIn("--kill-on-bad-exit=1", self.options)
        self.assertIn("--mpi=pmix", self.options)

    def test_requeued_after_a_checkpoint(self):
        result, calls = self.submit("exit 75")
        self.assertEqual((result.returncode, calls), (0, "requeue 17"), result.stderr)

    def test_term_reaches_the_program_and_its_exit_code_is_kept(self):
        result, calls = self.submit("trap 'sleep 0.2; exit 75' TERM\necho $$ >>ready\nwhile :; do sleep 0.02; done", send_term=True)
        self.assertEqual((result.returncode, calls), (0, "requeue 17"), result.stderr)

    def test_failure_is_not_requeued(self):
        for code in (2, 3, 4, 70, 137):
            with self.subTest(code):
                result, calls = self.submit(f"exit {code}")
                self.assertEqual((result.returncode, calls), (code, ""))
                self.assertIn(f"exit code {code}", result.stderr)

    def test_one_failed_rank_beside_one_that_asks_for_a_requeue_is_a_failure(self):
        result, calls = self.submit("mkdir first 2>/dev/null && exit 75\nexit 3")
        self.assertEqual((result.returncode, calls), (3, ""))

    def test_restarts_are_limited(self):
        result, calls = self.submit("exit 75", SLURM_RESTART_COUNT="3", MAGICID_MAX_RESTARTS="3")
        self.assertEqual((result.returncode, calls), (75, ""))

    def test_missing_program(self):
        result, calls = self.submit("exit 0", MAGICID_PROGRAM="gone/magicid")
        self.assertEqual((result.returncode, calls), (2, ""))
        self.assertIn("gone/magicid", result.stderr)


if __name__ == "__main__":
    unittest.main()
