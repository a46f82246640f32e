// Peak bytes of CPU tensors, for tests of what is kept until the backward.
#pragma once

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_map>

namespace magicid::tests {

// Counts the bytes of tensors alive, through LibTorch's own allocator. One for the process: what LibTorch keeps for itself may be freed after a test.
class MeteredAllocator final : public c10::Allocator {
 public:
  static MeteredAllocator& instance() {
    static MeteredAllocator allocator;
    return allocator;
  }
  // The context is the memory itself: oneDNN's buffers take no other.
  c10::DataPtr allocate(std::size_t bytes) override {
    void* const data = below_->raw_allocate(bytes);
    const std::lock_guard lock(mutex_);
    sizes_[data] = static_cast<std::int64_t>(bytes);
    live_ += static_cast<std::int64_t>(bytes);
    peak_ = std::max(peak_, live_);
    return {data, data, &release, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }
  c10::Allocator* below() const { return below_; }

  std::int64_t peak_of(const std::function<void()>& work) {
    const std::int64_t before = live_;
    peak_ = before;
    work();
    return peak_ - before;
  }

 private:
  MeteredAllocator() : below_(c10::GetCPUAllocator()) {}
  static void release(void* data) {
    MeteredAllocator& self = instance();
    {
      const std::lock_guard lock(self.mutex_);
      if (const auto found = self.sizes_.find(data); found != self.sizes_.end()) {
        self.live_ -= found->second;
        self.sizes_.erase(found);
      }
    }
    self.below_->raw_deallocate(data);
  }
  c10::Allocator* const below_;
  std::mutex mutex_;
  std::unordered_map<void*, std::int64_t> sizes_;
  std::int64_t live_ = 0, peak_ = 0;
};

// Measures while it lives; one at a time.
class MemoryMeter {
 public:
  MemoryMeter() { c10::SetCPUAllocator(&MeteredAllocator::instance(), 100); }
  ~MemoryMeter() { c10::SetCPUAllocator(MeteredAllocator::instance().below(), 100); }
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  // Bytes that work() needs beyond what is alive before it.
  std::int64_t peak_of(const std::function<void()>& work) { return MeteredAllocator::instance().peak_of(work); }
};

}  // namespace magicid::tests
