#include "diffusion/initial_noise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <span>

#include "base/random.h"

namespace magicid::diffusion {

at::Tensor initial_noise(std::uint64_t seed, std::string_view purpose, c10::IntArrayRef shape, std::uint64_t step) {
  const base::CounterRandom random(seed, purpose);
  at::Tensor noise = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  float* out = noise.data_ptr<float>();
  // Any slice can be drawn alone, so the number of threads does not matter.
  at::parallel_for(0, noise.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    random.normal(std::span<float>(out + begin, static_cast<std::size_t>(end - begin)), step, static_cast<std::uint64_t>(begin));
  });
  return noise;
}

}  // namespace magicid::diffusion
