#include "comm/launch.h"

#include "comm/nccl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace magicid::comm {
namespace {

class LaunchTest : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID",
                             "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS"}) {
      unsetenv(name);
    }
  }
};

TEST_F(LaunchTest, AloneIsOneProcess) {
  EXPECT_EQ(launched_processes().count, 1);
  setenv("SLURM_NTASKS", "8", 1);  // a batch script, not srun
  setenv("SLURM_PROCID", "0", 1);
  EXPECT_EQ(launched_processes().count, 1);
  EXPECT_EQ(make_world()->backend(), "local");
}

TEST_F(LaunchTest, LaunchersAreRecognised) {
  setenv("SLURM_PROCID", "5", 1);
  setenv("SLURM_STEP_NUM_TASKS", "8", 1);
  setenv("SLURM_LOCALID", "1", 1);
  EXPECT_EQ(launched_processes().rank, 5);
  EXPECT_EQ(launched_processes().count, 8);
  EXPECT_EQ(launched_processes().local_rank, 1);
  // mpirun inside an allocation speaks for itself.
  setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  EXPECT_EQ(launched_processes().rank, 1);
  EXPECT_EQ(launched_processes().count, 2);
  EXPECT_THROW(make_world(Backend::local), base::UserError);
  setenv("OMPI_COMM_WORLD_SIZE", "nonsense", 1);
  EXPECT_EQ(launched_processes().count, 8);
}

TEST_F(LaunchTest, BackendsHaveNames) {
  for (const auto backend : {Backend::automatic, Backend::local, Backend::mpi, Backend::nccl}) EXPECT_EQ(backend_from_name(backend_name(backend)), backend);
  EXPECT_THROW(backend_from_name("gloo"), base::UserError);
}

TEST_F(LaunchTest, NcclOfABuildWithoutCudaIsAClearError) {
  if (nccl_device_count() > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_THROW(make_world(Backend::nccl), base::UserError);
}

TEST_F(LaunchTest, ErrorsBecomeExitCodes) {
  const auto code = [](const std::function<int()>& work) { return run_as_rank(0, nullptr, [&](int, char**) { return work(); }); };
  EXPECT_EQ(code([] { return 0; }), 0);
  EXPECT_EQ(code([] { return 7; }), 7);
  EXPECT_EQ(code([]() -> int { throw base::UserError("bad"); }), 2);
  EXPECT_EQ(code([]() -> int { throw base::RequeueRequest("later"); }), 75);
  EXPECT_EQ(code([]() -> int { throw std::runtime_error("bug"); }), 70);
}

}  // namespace
}  // namespace magicid::comm
