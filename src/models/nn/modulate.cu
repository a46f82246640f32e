#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>

#include <cstdint>

#include "models/nn/modulate_device.h"

namespace magicid::models::nn {

namespace {

constexpr int threads_per_row = 256;
constexpr int warp = 32;
// What every GPU grants a block without asking for more.
constexpr std::int64_t shared_bytes = 48 * 1024 - (threads_per_row / warp) * sizeof(float);

// The sum over the block, on every thread. `partial` holds one float for each warp.
__device__ float block_sum(float value, float* partial) {
  for (int offset = warp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  __syncthreads();  // earlier readers of `partial` are done
  if (threadIdx.x % warp == 0) partial[threadIdx.x / warp] = value;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < threads_per_row / warp; ++i) sum += partial[i];
  return sum;
}

// One block a row (token). The row is read from global memory once and kept in shared memory as fp32, so that the variance is taken from
// differences to the mean: the one-pass formula loses digits when the mean is large.
template <typename Scalar>
__global__ void layer_norm_modulate_kernel(const Scalar* __restrict__ x, const Scalar* __restrict__ shift, const Scalar* __restrict__ scale,
                                           Scalar* __restrict__ out, std::int64_t tokens, int channels, float eps) {
  extern __shared__ float row[];
  __shared__ float partial[threads_per_row / warp];
  const std::int64_t token = blockIdx.x;
  const std::int64_t sample = token / tokens;
  x += token * channels;
  out += token * channels;
  shift += sample * channels;
  scale += sample * channels;

  float sum = 0;
  for (int i = threadIdx.x; i < channels; i += threads_per_row) {
    row[i] = static_cast<float>(x[i]);
    sum += row[i];
  }
  const float mean = block_sum(sum, partial) / channels;
  float squares = 0;
  for (int i = threadIdx.x; i < channels; i += threads_per_row) {
    row[i] -= mean;
    squares += row[i] * row[i];
  }
  const float inverse_deviation = rsqrtf(block_sum(squares, partial) / channels + eps);
  for (int i = threadIdx.x; i < channels; i += threads_per_row) {
    out[i] = static_cast<Scalar>(row[i] * inverse_deviation * (1.0f + static_cast<float>(scale[i])) + static_cast<float>(shift[i]));
  }
}

template <typename Scalar>
void launch(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, at::Tensor& out, double eps) {
  const int channels = static_cast<int>(x.size(2));
  const auto rows = static_cast<unsigned>(x.size(0) * x.size(1));
  layer_norm_modulate_kernel<Scalar><<<rows, threads_per_row, channels * sizeof(float), c10::cuda::getCurrentCUDAStream()>>>(
      x.const_data_ptr<Scalar>(), shift.const_data_ptr<Scalar>(), scale.const_data_ptr<Scalar>(), out.mutable_data_ptr<Scalar>(), x.size(1), channels,
      static_cast<float>(eps));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace

bool device_modulates(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.dim() == 3 &&
         x.size(2) * static_cast<std::int64_t>(sizeof(float)) <= shared_bytes;
}

at::Tensor device_layer_norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  const c10::cuda::CUDAGuard guard(x.device());
  at::Tensor out = at::empty_like(x);
  if (x.numel() == 0) return out;
  if (x.scalar_type() == at::kFloat) {
    launch<float>(x, shift, scale, out, eps);
  } else {
    launch<c10::BFloat16>(x, shift, scale, out, eps);
  }
  return out;
}

}  // namespace magicid::models::nn
