// main() of the tests that run under mpirun. Prints every rank's failures; all ranks fail when one failed or when no test ran.
#include "comm/launch.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace {

// What this rank has to say: failed tests with their messages.
class Failures : public testing::EmptyTestEventListener {
 public:
  std::string text;

 private:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    text += std::string("  ") + (result.file_name() ? result.file_name() : "unknown file") + ":" + std::to_string(result.line_number()) + "\n" +
            result.message() + "\n";
  }
  void OnTestEnd(const testing::TestInfo& info) override {
    if (info.result()->Failed()) text += std::string("  in ") + info.test_suite_name() + "." + info.name() + "\n";
  }
};

}  // namespace

int main(int argc, char** argv) {
  setenv("MAGICID_COLLECTIVE_TIMEOUT", "60", 0);  // a test that hangs ends with a message that names the operation
  return magicid::comm::run_as_rank(argc, argv, [](int count, char** arguments) {
    testing::InitGoogleTest(&count, arguments);
    auto world = magicid::comm::make_world(magicid::comm::Backend::mpi);
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    if (world->rank() != 0) delete listeners.Release(listeners.default_result_printer());
    auto* failures = new Failures;  // GoogleTest owns it
    listeners.Append(failures);
    const int result = RUN_ALL_TESTS();
    const bool ran = testing::UnitTest::GetInstance()->test_to_run_count() > 0;
    std::string report = failures->text;
    if (!ran) report += "  no test ran\n";
    if (result != 0 && report.empty()) report += "  failed outside of a test\n";
    const auto reports = world->all_gather_strings(report);
    int failed_ranks = 0;
    for (int rank = 0; rank < world->size(); ++rank) {
      if (reports[rank].empty()) continue;
      ++failed_ranks;
      if (world->rank() == 0) std::fprintf(stderr, "rank %d of %d FAILED:\n%s", rank, world->size(), reports[rank].c_str());
    }
    if (world->rank() == 0) std::printf("%d of %d ranks passed\n", world->size() - failed_ranks, world->size());
    return failed_ranks == 0 ? 0 : 1;
  });
}
