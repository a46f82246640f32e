// The communicator suite over NCCL with device tensors, under mpirun with a GPU for each rank (run_nccl.sh).
#include "comm/launch.h"
#include "comm/nccl.h"
#include "support/communicator_suite.h"

namespace magicid::comm {
namespace {

// Sends the suite's host tensors over a device communicator: to the device, through the collective, back.
class OverDevice : public Communicator {
 public:
  explicit OverDevice(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string backend() const override { return inner_->backend(); }
  void all_reduce(at::Tensor& tensor, Reduce operation) override {
    in_place(tensor, [&](at::Tensor& there) { inner_->all_reduce(there, operation); });
  }
  at::Tensor all_gather(const at::Tensor& local) override { return inner_->all_gather(local.to(at::kCUDA)).cpu(); }
  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    return inner_->all_to_all(send.to(at::kCUDA), send_counts, receive_counts).cpu();
  }
  void broadcast(at::Tensor& tensor, int root) override {
    in_place(tensor, [&](at::Tensor& there) { inner_->broadcast(there, root); });
  }
  void barrier() override { inner_->barrier(); }
  std::unique_ptr<Communicator> split(int color, int key) override { return std::make_unique<OverDevice>(inner_->split(color, key)); }
  std::vector<std::string> all_gather_strings(const std::string& local) override { return inner_->all_gather_strings(local); }
  std::string broadcast_string(const std::string& text, int root) override { return inner_->broadcast_string(text, root); }
  std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) override { return inner_->make_work_queue(count); }

 private:
  template <class Call>
  static void in_place(at::Tensor& tensor, const Call& call) {
    at::Tensor there = tensor.to(at::kCUDA);  // keeps strides, so that a wrong layout is still refused
    call(there);
    tensor.copy_(there);
  }
  std::unique_ptr<Communicator> inner_;
};

// NCCL fixes an order of addition, but its own: sums are compared by NcclDevice.SumsRepeatToTheBit.
std::vector<testing::SuiteCase> device_suite() {
  std::vector<testing::SuiteCase> cases;
  for (const auto& entry : testing::communicator_suite()) {
    if (entry.run != testing::all_reduce_sums_in_rank_order) cases.push_back(entry);
  }
  return cases;
}

class NcclDeviceSuite : public ::testing::TestWithParam<testing::SuiteCase> {};
TEST_P(NcclDeviceSuite, Holds) {
  OverDevice world(make_world(Backend::nccl));
  ASSERT_EQ(world.backend(), "nccl");
  GetParam().run(world);
}
INSTANTIATE_TEST_SUITE_P(Suite, NcclDeviceSuite, ::testing::ValuesIn(device_suite()), [](const auto& info) { return info.param.name; });

TEST(NcclDevice, SumsRepeatToTheBit) {
  auto world = make_world(Backend::nccl);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong}) {
    const at::Tensor mine = testing::rank_numbers(world->rank(), 100003, dtype).to(at::kCUDA);
    at::Tensor expected = at::zeros({100003}, at::kDouble);
    for (int rank = 0; rank < world->size(); ++rank) expected += testing::rank_numbers(rank, 100003, dtype).to(at::kDouble);
    at::Tensor first = mine.clone(), second = mine.clone();
    world->all_reduce(first);
    world->all_reduce(second);
    EXPECT_TRUE(at::equal(first, second)) << c10::toString(dtype);
    const double tolerance = dtype == at::kBFloat16 ? 1e-2 : dtype == at::kHalf ? 2e-3 : 1e-5;
    EXPECT_TRUE(at::allclose(first.cpu().to(at::kDouble), expected, tolerance, 1e-2)) << c10::toString(dtype);
  }
}

TEST(NcclDevice, HostTensorsGoOverTheHost) {
  auto world = make_world(Backend::nccl);
  at::Tensor one = at::ones({3});
  world->all_reduce(one);
  EXPECT_TRUE(at::equal(one, at::full({3}, static_cast<float>(world->size()))));
}

}  // namespace
}  // namespace magicid::comm
