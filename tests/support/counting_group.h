// A group that counts what its rank hands to the others in exchanges.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/work_queue.h"

namespace magicid::tests {

// Passes everything on to `inner`, which must outlive it. Counted are all_to_all's rows for other ranks; the rank's own stay where they are.
class CountingGroup : public comm::Communicator {
 public:
  explicit CountingGroup(comm::Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string backend() const override { return inner_.backend(); }
  void all_reduce(at::Tensor& tensor, comm::Reduce operation) override { inner_.all_reduce(tensor, operation); }
  at::Tensor all_gather(const at::Tensor& local) override { return inner_.all_gather(local); }
  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    ++exchanges;
    for (int to = 0; to < size(); ++to)
      if (to != rank()) bytes += send_counts[static_cast<std::size_t>(to)] * send.size(1) * static_cast<std::int64_t>(send.element_size());
    return inner_.all_to_all(send, send_counts, receive_counts);
  }
  void broadcast(at::Tensor& tensor, int root) override { inner_.broadcast(tensor, root); }
  void barrier() override { inner_.barrier(); }
  std::unique_ptr<comm::Communicator> split(int color, int key) override { return inner_.split(color, key); }
  std::unique_ptr<comm::WorkQueue> make_work_queue(std::int64_t count) override { return inner_.make_work_queue(count); }

  int exchanges = 0;
  std::int64_t bytes = 0;

 private:
  comm::Communicator& inner_;
};

}  // namespace magicid::tests
